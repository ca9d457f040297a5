// The spiking run's face to Python: sizes, types and ranges are checked here, so that the library may trust its pointers.
#include "quintet/spiking.hpp"

#include <pybind11/pybind11.h>

#include <optional>

#include "tensor.hpp"

namespace quintet {

void bind_spiking(py::module_& module);

namespace {

void require(bool fine, const std::string& message) {
  if (!fine) throw py::value_error(message);
}

struct Numbers {
  std::int64_t refractory;
  bool to_zero;
  double rho, kappa, height;
  int threads;
};

template <class Array>
void require_shape(const Array& array, std::initializer_list<std::int64_t> shape) {
  int axis = 0;
  for (const std::int64_t size : shape) array.require_size(axis++, size);
}

// The arguments that both passes share; keeps the tensors alive that `run` points into.
class Inputs {
 public:
  Inputs(const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta, const py::object& beta,
         const py::object& state, const py::object& drive, const Numbers& numbers)
      : weight_(weight, "weight"), drive_(drive, "drive"), state_(state, "state"), alpha_(alpha, "alpha"), theta_(theta, "theta"),
        beta_(beta, "beta"), places_(places, "places") {
    take_sizes();
    take_places();
    require(numbers.refractory >= 0 && numbers.refractory <= 1000,
            "refractory must be from 0 to 1000, not " + std::to_string(numbers.refractory));
    require(numbers.rho >= 0.0 && numbers.rho <= 1.0, "rho must be in [0, 1], not " + std::to_string(numbers.rho));
    require(numbers.kappa >= 0.0 && numbers.kappa <= 1.0, "kappa must be in [0, 1], not " + std::to_string(numbers.kappa));
    require(numbers.height > 0.0, "height must be above 0, not " + std::to_string(numbers.height));
    require(numbers.threads >= 1, "threads must be at least 1, not " + std::to_string(numbers.threads));
    run.refractory = numbers.refractory;
    run.to_zero = numbers.to_zero;
    run.rho = static_cast<float>(numbers.rho);
    run.kappa = static_cast<float>(numbers.kappa);
    run.height = static_cast<float>(numbers.height);
    run.threads = numbers.threads;
    run.weight = weight_.data;
    run.alpha = alpha_.data;
    run.theta = theta_.data;
    run.beta = beta_.data;
    run.state = state_.data;
    run.drive = drive_.data;
  }

  SpikingRun run{};

 private:
  void take_sizes() {
    run.batch = drive_.shape[0];
    run.steps = drive_.shape[1];
    run.neurons = drive_.shape[2];
    run.blocks = weight_.shape[0];
    run.block = weight_.shape[1];
    require(run.block == 16 || run.block == 32 || run.block == 64,
            "weight must have blocks of 16, 32 or 64 neurons, not " + std::to_string(run.block));
    weight_.require_size(2, run.block);
    require(run.steps > 0, "drive must have at least one step");
    require(run.neurons > 0 && run.neurons % run.block == 0,
            "drive must have a multiple of " + std::to_string(run.block) + " neurons, not " + std::to_string(run.neurons));
    for (const auto* each : {&alpha_, &theta_, &beta_}) each->require_size(0, run.neurons);
    require_shape(state_, {5, run.batch, run.neurons});
    require_shape(places_, {run.blocks, 2});
  }

  void take_places() {
    const std::int64_t count = run.neurons / run.block;
    for (std::int64_t i = 0; i < 2 * run.blocks; ++i) {
      const std::int64_t place = places_.data[i];
      require(place >= 0 && place < count, "places[" + std::to_string(i / 2) + ", " + std::to_string(i % 2) +
                                               "] = " + std::to_string(place) + " must be a block from 0 to " + std::to_string(count - 1));
    }
    run.places = places_.data;
  }

  Tensor<float, 3> weight_, drive_, state_;
  Tensor<float, 1> alpha_, theta_, beta_;
  Tensor<std::int64_t, 2> places_;
};

// What the forward pass keeps: flat tensors.
class Kept {
 public:
  Kept(const SpikingRun& run, const py::object& distances, const py::object& adaptations, const py::object& spikes, const py::object& ready)
      : distances_(distances, "distances"), adaptations_(adaptations, "adaptations"), spikes_(spikes, "spike_bits"),
        ready_(ready, "ready_bits") {
    const std::int64_t size = run.steps * run.batch * run.neurons;
    for (const auto* each : {&distances_, &adaptations_}) each->require_size(0, size);
    for (const auto* each : {&spikes_, &ready_}) each->require_size(0, size / run.block);
    kept = {distances_.data, adaptations_.data, reinterpret_cast<std::uint64_t*>(spikes_.data),
            reinterpret_cast<std::uint64_t*>(ready_.data)};
  }

  SpikingKept kept;

 private:
  Tensor<float, 1> distances_, adaptations_;
  Tensor<std::int64_t, 1> spikes_, ready_;
};

void forward(const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta, const py::object& beta,
             const py::object& state, const py::object& drive, const Numbers& numbers, bool keep, const py::object& spikes,
             const py::object& last, const py::object& distances, const py::object& adaptations, const py::object& spike_bits,
             const py::object& ready_bits) {
  const Inputs inputs(weight, places, alpha, theta, beta, state, drive, numbers);
  const SpikingRun& run = inputs.run;
  const Tensor<float, 3> out(spikes, "spikes"), end(last, "last");
  require_shape(out, {run.batch, run.steps, run.neurons});
  require_shape(end, {5, run.batch, run.neurons});
  std::optional<Kept> kept;
  if (keep) kept.emplace(run, distances, adaptations, spike_bits, ready_bits);
  py::gil_scoped_release release;
  spiking_forward(run, out.data, end.data, kept ? &kept->kept : nullptr);
}

std::optional<Tensor<float, 3>> tensor_or_none(const py::object& object, const char* argument) {
  return object.is_none() ? std::nullopt : std::optional<Tensor<float, 3>>(std::in_place, object, argument);
}

struct To {
  py::object weight, alpha, theta, beta, state, drive;
};

void backward(const Inputs& inputs, const Kept& kept, const py::object& spikes, const py::object& last, const To& to) {
  const SpikingRun& run = inputs.run;
  const auto from_spikes = tensor_or_none(spikes, "spikes_gradient"), from_last = tensor_or_none(last, "last_gradient");
  if (from_spikes) require_shape(*from_spikes, {run.batch, run.steps, run.neurons});
  if (from_last) require_shape(*from_last, {5, run.batch, run.neurons});
  const Tensor<float, 3> weight(to.weight, "weight_gradient"), state(to.state, "state_gradient"), drive(to.drive, "drive_gradient");
  const Tensor<float, 1> alpha(to.alpha, "alpha_gradient"), theta(to.theta, "theta_gradient"), beta(to.beta, "beta_gradient");
  require_shape(weight, {run.blocks, run.block, run.block});
  require_shape(state, {5, run.batch, run.neurons});
  require_shape(drive, {run.batch, run.steps, run.neurons});
  for (const auto* each : {&alpha, &theta, &beta}) each->require_size(0, run.neurons);
  py::gil_scoped_release release;
  spiking_backward(run, kept.kept,
                   {from_spikes ? from_spikes->data : nullptr, from_last ? from_last->data : nullptr, weight.data, alpha.data, theta.data,
                    beta.data, state.data, drive.data});
}

}  // namespace

void bind_spiking(py::module_& module) {
  py::class_<Numbers>(module, "SpikingNumbers")
      .def(py::init([](std::int64_t refractory, bool to_zero, double rho, double kappa, double height, int threads) {
        return Numbers{refractory, to_zero, rho, kappa, height, threads};
      }));
  module.def("spiking_forward", &forward);
  module.def("spiking_backward",
             [](const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta,
                const py::object& beta, const py::object& state, const py::object& drive, const Numbers& numbers,
                const py::object& distances, const py::object& adaptations, const py::object& spike_bits, const py::object& ready_bits,
                const py::object& spikes, const py::object& last, const py::object& to_weight, const py::object& to_alpha,
                const py::object& to_theta, const py::object& to_beta, const py::object& to_state, const py::object& to_drive) {
               const Inputs inputs(weight, places, alpha, theta, beta, state, drive, numbers);
               const Kept kept(inputs.run, distances, adaptations, spike_bits, ready_bits);
               backward(inputs, kept, spikes, last, {to_weight, to_alpha, to_theta, to_beta, to_state, to_drive});
             });
}

}  // namespace quintet

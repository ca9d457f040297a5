// The recurrent run's face to Python: sizes, types and ranges are checked here, so that the library may trust its pointers.
#include "quintet/recurrent.hpp"

#include <pybind11/pybind11.h>

#include <array>
#include <optional>

#include "tensor.hpp"

namespace quintet {

void bind_recurrent(py::module_& module);

namespace {

constexpr std::array<const char*, 8> kActivations{"identity", "relu", "leaky_relu", "elu", "tanh", "sigmoid", "gelu", "silu"};

void require(bool fine, const std::string& message) {
  if (!fine) throw py::value_error(message);
}

Activation activation_named(const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < kActivations.size(); ++i) {
    if (name == kActivations[i]) return static_cast<Activation>(i);
    known += std::string(i > 0 ? ", " : "") + kActivations[i];
  }
  throw py::value_error("activation must be one of " + known + ", not '" + name + "'");
}

template <class T, int Rank>
std::optional<Tensor<T, Rank>> tensor_or_none(const py::object& object, const char* argument) {
  return object.is_none() ? std::nullopt : std::optional<Tensor<T, Rank>>(std::in_place, object, argument);
}

struct Numbers {
  std::int64_t steps, every;
  bool hold;
  std::int64_t collect, segment;
  std::string activation;
  double dropout, epsilon;
  std::uint64_t seed;
  int threads;
};

// The arguments that both passes share; keeps the tensors alive that `run` points into.
class Inputs {
 public:
  Inputs(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
         const py::object& places, const Numbers& numbers)
      : weight_(weight, "weight"), bias_(bias, "bias"), gain_(gain, "gain"), drive_(drive, "drive"),
        state_(tensor_or_none<float, 2>(state, "state")), places_(tensor_or_none<std::int64_t, 1>(places, "places")) {
    take_sizes();
    take_numbers(numbers);
    take_places();
    run.weight = weight_.data;
    run.bias = bias_.data;
    run.gain = gain_.data;
    run.state = state_ ? state_->data : nullptr;
    run.drive = drive_.data;
  }

  RecurrentRun run{};

 private:
  void take_sizes() {
    const std::int64_t n = weight_.shape[0];
    require(n > 0, "weight must have at least one row");
    weight_.require_size(1, n);
    bias_.require_size(0, n);
    gain_.require_size(0, n);
    run.neurons = n;
    run.batch = drive_.shape[0];
    run.frames = drive_.shape[1];
    run.inputs = drive_.shape[2];
    if (!state_) return;
    state_->require_size(0, run.batch);
    state_->require_size(1, n);
  }

  void take_numbers(const Numbers& numbers) {
    require(numbers.steps >= 1, "steps must be at least 1, not " + std::to_string(numbers.steps));
    require(numbers.every >= 1, "every must be at least 1, not " + std::to_string(numbers.every));
    require(numbers.collect >= 0, "collect must be at least 0, not " + std::to_string(numbers.collect));
    require(numbers.segment >= 0, "segment must be at least 0, not " + std::to_string(numbers.segment));
    require(numbers.dropout >= 0.0 && numbers.dropout < 1.0, "dropout must be in [0, 1), not " + std::to_string(numbers.dropout));
    require(numbers.epsilon > 0.0, "epsilon must be above 0, not " + std::to_string(numbers.epsilon));
    require(numbers.threads >= 1, "threads must be at least 1, not " + std::to_string(numbers.threads));
    require(run.frames <= 1 || run.frames - 1 <= (numbers.steps - 1) / numbers.every,
            "drive has " + std::to_string(run.frames) + " frames, one every " + std::to_string(numbers.every) +
                " steps, which do not fit into " + std::to_string(numbers.steps) + " steps");
    run.steps = numbers.steps;
    run.every = numbers.every;
    run.hold = numbers.hold;
    run.collect = numbers.collect;
    run.segment = numbers.segment;
    run.activation = activation_named(numbers.activation);
    run.dropout = numbers.dropout;
    run.seed = numbers.seed;
    run.epsilon = static_cast<float>(numbers.epsilon);
    run.threads = numbers.threads;
  }

  void take_places() {
    if (!places_) {
      drive_.require_size(2, run.neurons);
      return;
    }
    places_->require_size(0, run.inputs);
    for (std::int64_t i = 0; i < run.inputs; ++i) {
      const std::int64_t place = places_->data[i];
      require(place >= 0 && place < run.neurons, "places[" + std::to_string(i) + "] = " + std::to_string(place) +
                                                     " must be a neuron from 0 to " + std::to_string(run.neurons - 1));
    }
    run.places = places_->data;
  }

  Tensor<float, 2> weight_;
  Tensor<float, 1> bias_, gain_;
  Tensor<float, 3> drive_;
  std::optional<Tensor<float, 2>> state_;
  std::optional<Tensor<std::int64_t, 1>> places_;
};

// What the forward pass keeps: flat tensors of the sizes that the library names.
class Kept {
 public:
  Kept(const RecurrentRun& run, const py::object& values, const py::object& scales, const py::object& masks)
      : values_(values, "values"), scales_(scales, "scales"), masks_(masks, "masks") {
    const RecurrentShape shape = shape_of(run);
    values_.require_size(0, shape.slots * shape.slot);
    scales_.require_size(0, run.steps * run.batch);
    masks_.require_size(0, shape.masks);
    kept = {values_.data, scales_.data, shape.masks > 0 ? reinterpret_cast<std::uint64_t*>(masks_.data) : nullptr};
  }

  RecurrentKept kept;

 private:
  Tensor<float, 1> values_, scales_;
  Tensor<std::int64_t, 1> masks_;
};

std::int64_t collected(const RecurrentRun& run) { return run.collect > 0 ? run.steps / run.collect : 0; }

template <class States>
void require_states(const States& states, const RecurrentRun& run) {
  states.require_size(0, run.batch);
  states.require_size(1, collected(run));
  states.require_size(2, run.neurons);
}

template <class Matrix>
void require_rows(const Matrix& matrix, std::int64_t rows, std::int64_t columns) {
  matrix.require_size(0, rows);
  matrix.require_size(1, columns);
}

void forward(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
             const py::object& places, const Numbers& numbers, const py::object& final, const py::object& states, const py::object& values,
             const py::object& scales, const py::object& masks, bool keep) {
  const Inputs inputs(weight, bias, gain, state, drive, places, numbers);
  const Tensor<float, 2> last(final, "final");
  const Tensor<float, 3> all(states, "states");
  require_rows(last, inputs.run.batch, inputs.run.neurons);
  require_states(all, inputs.run);
  std::optional<Kept> kept;
  if (keep) kept.emplace(inputs.run, values, scales, masks);
  py::gil_scoped_release release;
  recurrent_forward(inputs.run, last.data, all.data, kept ? &kept->kept : nullptr);
}

struct To {
  py::object weight, bias, gain, state, drive;
};

void backward(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
              const py::object& places, const Numbers& numbers, const py::object& values, const py::object& scales, const py::object& masks,
              const py::object& final, const py::object& states, const To& to) {
  const Inputs inputs(weight, bias, gain, state, drive, places, numbers);
  const RecurrentRun& run = inputs.run;
  const Kept kept(run, values, scales, masks);
  const auto last = tensor_or_none<float, 2>(final, "final_gradient");
  const auto all = tensor_or_none<float, 3>(states, "states_gradient");
  if (last) require_rows(*last, run.batch, run.neurons);
  if (all) require_states(*all, run);
  const Tensor<float, 2> to_weight(to.weight, "weight_gradient"), to_state(to.state, "state_gradient");
  const Tensor<float, 1> to_bias(to.bias, "bias_gradient"), to_gain(to.gain, "gain_gradient");
  const Tensor<float, 3> to_drive(to.drive, "drive_gradient");
  require_rows(to_weight, run.neurons, run.neurons);
  to_bias.require_size(0, run.neurons);
  to_gain.require_size(0, run.neurons);
  require_rows(to_state, run.state == nullptr ? 0 : run.batch, run.neurons);
  for (int axis = 0; axis < 3; ++axis)
    to_drive.require_size(axis, std::array{run.batch, run.frames, run.inputs}[static_cast<std::size_t>(axis)]);
  py::gil_scoped_release release;
  recurrent_backward(run, kept.kept,
                     {last ? last->data : nullptr, all ? all->data : nullptr, to_weight.data, to_bias.data, to_gain.data,
                      run.state == nullptr ? nullptr : to_state.data, to_drive.data});
}

}  // namespace

void bind_recurrent(py::module_& module) {
  py::class_<Numbers>(module, "RecurrentNumbers")
      .def(py::init([](std::int64_t steps, std::int64_t every, bool hold, std::int64_t collect, std::int64_t segment,
                       std::string activation, double dropout, double epsilon, std::uint64_t seed, int threads) {
        return Numbers{steps, every, hold, collect, segment, std::move(activation), dropout, epsilon, seed, threads};
      }));
  module.def("recurrent_forward", &forward);
  module.def("recurrent_backward",
             [](const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
                const py::object& places, const Numbers& numbers, const py::object& values, const py::object& scales,
                const py::object& masks, const py::object& final, const py::object& states, const py::object& to_weight,
                const py::object& to_bias, const py::object& to_gain, const py::object& to_state, const py::object& to_drive) {
               backward(weight, bias, gain, state, drive, places, numbers, values, scales, masks, final, states,
                        {to_weight, to_bias, to_gain, to_state, to_drive});
             });
}

}  // namespace quintet

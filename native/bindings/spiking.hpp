// What the spiking run's bindings share: sizes, types and ranges are checked here, so that the library may trust its pointers.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <string>

#include "quintet/spiking.hpp"
#include "tensor.hpp"

namespace quintet {

inline void require(bool fine, const std::string& message) {
  if (!fine) throw py::value_error(message);
}

struct SpikingNumbers {
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
class SpikingInputs {
 public:
  SpikingInputs(const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta,
                const py::object& beta, const py::object& state, const py::object& drive, const SpikingNumbers& numbers,
                dlpack::Device device = kOnCpu)
      : weight_(weight, "weight", device), drive_(drive, "drive", device), state_(state, "state", device),
        alpha_(alpha, "alpha", device), theta_(theta, "theta", device), beta_(beta, "beta", device), places_(places, "places", device) {
    take_sizes();
    if (device.type == dlpack::kCpu) check_places();
    run.places = places_.data;
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

  // Those on a GPU have been checked before: reading them would stop it.
  void check_places() const {
    const std::int64_t count = run.neurons / run.block;
    for (std::int64_t i = 0; i < 2 * run.blocks; ++i) {
      const std::int64_t place = places_.data[i];
      require(place >= 0 && place < count, "places[" + std::to_string(i / 2) + ", " + std::to_string(i % 2) +
                                               "] = " + std::to_string(place) + " must be a block from 0 to " + std::to_string(count - 1));
    }
  }

  Tensor<float, 3> weight_, drive_, state_;
  Tensor<float, 1> alpha_, theta_, beta_;
  Tensor<std::int64_t, 2> places_;
};

// What the forward pass keeps: flat tensors.
class SpikingStore {
 public:
  SpikingStore(const SpikingRun& run, const py::object& distances, const py::object& adaptations, const py::object& spikes,
               const py::object& ready, dlpack::Device device = kOnCpu)
      : distances_(distances, "distances", device), adaptations_(adaptations, "adaptations", device),
        spikes_(spikes, "spike_bits", device), ready_(ready, "ready_bits", device) {
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

inline std::optional<Tensor<float, 3>> tensor_or_none(const py::object& object, const char* argument, dlpack::Device device) {
  return object.is_none() ? std::nullopt : std::optional<Tensor<float, 3>>(std::in_place, object, argument, device);
}

struct SpikingTo {
  py::object weight, alpha, theta, beta, state, drive;
};

// The gradients that come in and those that go out.
class SpikingFlow {
 public:
  SpikingFlow(const SpikingRun& run, const py::object& spikes, const py::object& last, const SpikingTo& to, dlpack::Device device = kOnCpu)
      : from_spikes_(tensor_or_none(spikes, "spikes_gradient", device)), from_last_(tensor_or_none(last, "last_gradient", device)),
        weight_(to.weight, "weight_gradient", device), state_(to.state, "state_gradient", device),
        drive_(to.drive, "drive_gradient", device), alpha_(to.alpha, "alpha_gradient", device),
        theta_(to.theta, "theta_gradient", device), beta_(to.beta, "beta_gradient", device) {
    if (from_spikes_) require_shape(*from_spikes_, {run.batch, run.steps, run.neurons});
    if (from_last_) require_shape(*from_last_, {5, run.batch, run.neurons});
    require_shape(weight_, {run.blocks, run.block, run.block});
    require_shape(state_, {5, run.batch, run.neurons});
    require_shape(drive_, {run.batch, run.steps, run.neurons});
    for (const auto* each : {&alpha_, &theta_, &beta_}) each->require_size(0, run.neurons);
    gradients = {from_spikes_ ? from_spikes_->data : nullptr, from_last_ ? from_last_->data : nullptr, weight_.data, alpha_.data,
                 theta_.data, beta_.data, state_.data, drive_.data};
  }

  SpikingGradients gradients;

 private:
  std::optional<Tensor<float, 3>> from_spikes_, from_last_;
  Tensor<float, 3> weight_, state_, drive_;
  Tensor<float, 1> alpha_, theta_, beta_;
};

}  // namespace quintet

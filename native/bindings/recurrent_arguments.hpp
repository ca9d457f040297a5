// The recurrent run's arguments from Python: sizes, types and ranges are checked here, so that the library may trust its pointers.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <optional>

#include "quintet/recurrent.hpp"
#include "tensor.hpp"

namespace quintet::recurrent {

inline constexpr std::array<const char*, 8> kActivations{"identity", "relu", "leaky_relu", "elu", "tanh", "sigmoid", "gelu", "silu"};

// `message` makes its text, which takes longer than a small network, only where it is needed.
template <class Message>
void require(bool fine, Message message) {
  if (!fine) throw py::value_error(message());
}

inline Activation activation_named(const std::string& name) {
  for (std::size_t i = 0; i < kActivations.size(); ++i) {
    if (name == kActivations[i]) return static_cast<Activation>(i);
  }
  std::string known = kActivations[0];
  for (std::size_t i = 1; i < kActivations.size(); ++i) known += std::string(", ") + kActivations[i];
  throw py::value_error("activation must be one of " + known + ", not '" + name + "'");
}

template <class T, int Rank>
std::optional<Tensor<T, Rank>> tensor_or_none(const py::object& object, const char* argument, dlpack::Device where = kOnCpu) {
  return object.is_none() ? std::nullopt : std::optional<Tensor<T, Rank>>(std::in_place, object, argument, where);
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

// The arguments that both passes share; keeps the tensors alive that `run` points into. What lies on a GPU is not looked into: there,
// whoever calls sees to it that places are neurons.
class Inputs {
 public:
  Inputs(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
         const py::object& places, const Numbers& numbers, dlpack::Device where = kOnCpu)
      : weight_(weight, "weight", where), bias_(bias, "bias", where), gain_(gain, "gain", where), drive_(drive, "drive", where),
        state_(tensor_or_none<float, 2>(state, "state", where)), places_(tensor_or_none<std::int64_t, 1>(places, "places", where)) {
    take_sizes();
    take_numbers(numbers);
    take_places(where);
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
    require(n > 0, [] { return "weight must have at least one row"; });
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
    require(numbers.steps >= 1, [&] { return "steps must be at least 1, not " + std::to_string(numbers.steps); });
    require(numbers.every >= 1, [&] { return "every must be at least 1, not " + std::to_string(numbers.every); });
    require(numbers.collect >= 0, [&] { return "collect must be at least 0, not " + std::to_string(numbers.collect); });
    require(numbers.segment >= 0, [&] { return "segment must be at least 0, not " + std::to_string(numbers.segment); });
    require(numbers.dropout >= 0.0 && numbers.dropout < 1.0,
            [&] { return "dropout must be in [0, 1), not " + std::to_string(numbers.dropout); });
    require(numbers.epsilon > 0.0, [&] { return "epsilon must be above 0, not " + std::to_string(numbers.epsilon); });
    require(numbers.threads >= 1, [&] { return "threads must be at least 1, not " + std::to_string(numbers.threads); });
    require(run.frames <= 1 || run.frames - 1 <= (numbers.steps - 1) / numbers.every,
            [&] {
              return "drive has " + std::to_string(run.frames) + " frames, one every " + std::to_string(numbers.every) +
                     " steps, which do not fit into " + std::to_string(numbers.steps) + " steps";
            });
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

  void take_places(dlpack::Device where) {
    if (!places_) {
      drive_.require_size(2, run.neurons);
      return;
    }
    places_->require_size(0, run.inputs);
    for (std::int64_t i = 0; where.type == dlpack::kCpu && i < run.inputs; ++i) {
      const std::int64_t place = places_->data[i];
      require(place >= 0 && place < run.neurons, [&] {
        return "places[" + std::to_string(i) + "] = " + std::to_string(place) +
               " must be a neuron from 0 to " + std::to_string(run.neurons - 1);
      });
    }
    run.places = places_->data;
  }

  Tensor<float, 2> weight_;
  Tensor<float, 1> bias_, gain_;
  Tensor<float, 3> drive_;
  std::optional<Tensor<float, 2>> state_;
  std::optional<Tensor<std::int64_t, 1>> places_;
};

inline std::int64_t collected(const RecurrentRun& run) { return run.collect > 0 ? run.steps / run.collect : 0; }

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

}  // namespace quintet::recurrent

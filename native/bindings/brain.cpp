// A brain's window: its face to Python. Names, sizes, types and tokens are checked here, so that the library may trust its pointers.
#include "quintet/brain.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <string>
#include <vector>

#include "quintet/phase.hpp"
#include "spiking.hpp"
#include "tensor.hpp"

namespace quintet {

void bind_brain(py::module_& module);

namespace {

using Sizes = std::vector<std::int64_t>;
using Numbers = std::map<std::string, double>;
constexpr const char* kNames[] = {"thalamus", "wernicke", "hippocampus", "prefrontal", "basal_ganglia", "broca"};

// Tensors by name. A name that is missing is a KeyError; the tensors live as long as the dictionary of the caller.
class Named {
 public:
  explicit Named(const py::dict& tensors) : tensors_(tensors) {}

  template <class T = float>
  T* operator()(const std::string& name, const Sizes& shape) const {
    const py::object tensor = tensors_[name.c_str()];
    switch (shape.size()) {
      case 1: return checked<T, 1>(tensor, name, shape);
      case 2: return checked<T, 2>(tensor, name, shape);
      case 3: return checked<T, 3>(tensor, name, shape);
      default: return checked<T, 4>(tensor, name, shape);
    }
  }

  bool empty(const std::string& name) const { return py::object(tensors_[name.c_str()]).is_none(); }

 private:
  template <class T, int Rank>
  static T* checked(const py::object& object, const std::string& name, const Sizes& shape) {
    const Tensor<T, Rank> tensor(object, name.c_str());
    for (int axis = 0; axis < Rank; ++axis) tensor.require_size(axis, shape[static_cast<std::size_t>(axis)]);
    return tensor.data;
  }

  const py::dict& tensors_;
};

void take_modules(BrainWindow& window, const Sizes& neurons, const Sizes& steps) {
  require(neurons.size() == kBrainModules && steps.size() == kBrainModules, "neurons and steps must have a number for each module");
  for (std::size_t m = 0; m < kBrainModules; ++m) {
    require(neurons[m] > 0 && neurons[m] % 16 == 0,
            std::string(kNames[m]) + " must have a multiple of 16 neurons, not " + std::to_string(neurons[m]));
    require(steps[m] >= 1 && steps[m] <= kMostPhaseSteps,
            std::string("steps of ") + kNames[m] + " must be from 1 to " + std::to_string(kMostPhaseSteps) + ", not " +
                std::to_string(steps[m]));
    window.neurons[m] = neurons[m];
    window.steps[m] = steps[m];
  }
}

void take_numbers(BrainWindow& window, const Numbers& numbers) {
  const auto number = [&](const char* name) { return static_cast<float>(numbers.at(name)); };
  window.rho = number("rho");
  window.beta = number("beta");
  window.height = number("height");
  window.epsilon = number("epsilon");
  window.key_threshold = number("key_threshold");
  window.slack = number("slack");
}

void take_tokens(BrainWindow& window, const py::dict& tensors) {
  const Tensor<std::int64_t, 2> tokens(tensors["tokens"], "tokens");
  window.tokens = tokens.shape[0];
  window.batch = tokens.shape[1];
  window.token_ids = tokens.data;
  window.vocabulary = Tensor<float, 1>(tensors["head_bias"], "head_bias").shape[0];
  window.keys = Tensor<float, 1>(tensors["key_gain"], "key_gain").shape[0];
  require(window.keys > 0 && window.vocabulary > 0, "key_gain and head_bias must not be empty");
  for (std::int64_t i = 0; i < window.tokens * window.batch; ++i) {
    const std::int64_t token = tokens.data[i];
    require(token >= 0 && token < window.vocabulary,
            "tokens holds " + std::to_string(token) + ", which must be from 0 to " + std::to_string(window.vocabulary - 1));
  }
}

void take_weights(BrainWindow& window, const Named& tensor) {
  const auto [thalamus, wernicke, hippocampus, prefrontal, ganglia, broca] = window.neurons;
  const std::int64_t all = all_neurons(window), keys = window.keys;
  window.drive = tensor("drive", {window.tokens, window.batch, thalamus});
  window.feedback = tensor("feedback", {thalamus + wernicke + 2 * prefrontal, prefrontal});
  window.thalamus = tensor("thalamus", {wernicke, thalamus});
  window.wernicke = tensor("wernicke", {2 * prefrontal + keys + hippocampus, wernicke});
  window.hippocampus = tensor("hippocampus", {2 * prefrontal, hippocampus});
  window.prefrontal = tensor("prefrontal", {ganglia + broca, prefrontal});
  window.basal_ganglia = tensor("basal_ganglia", {broca, ganglia});
  window.head = tensor("head", {window.vocabulary, broca});
  window.head_bias = tensor("head_bias", {window.vocabulary});
  window.gain = tensor("gain", {all});
  window.bias = tensor("bias", {all});
  window.decay = tensor("decay", {all});
  window.charge = tensor("charge", {all});
  window.sensitivity = tensor("sensitivity", {2, all});
  window.gate_gain = tensor("gate_gain", {prefrontal});
  window.gate_bias = tensor("gate_bias", {prefrontal});
  window.key_gain = tensor("key_gain", {keys});
  window.key_bias = tensor("key_bias", {keys});
  window.retention = tensor("retention", {keys});
  window.plasticity = tensor("plasticity", {3});
}

BrainWindow window_of(const Sizes& neurons, const Sizes& steps, const Numbers& numbers, int threads, const py::dict& tensors) {
  BrainWindow window{};
  require(threads >= 1, "threads must be at least 1, not " + std::to_string(threads));
  window.threads = threads;
  take_modules(window, neurons, steps);
  take_numbers(window, numbers);
  take_tokens(window, tensors);
  take_weights(window, Named(tensors));
  return window;
}

BrainKept kept_of(const BrainWindow& window, const py::dict& tensors) {
  const Named tensor(tensors);
  const std::int64_t after = window.tokens + 1, batch = window.batch;
  BrainKept kept{};
  for (int m = 0; m < kBrainModules; ++m) {
    const Sizes shape{after, batch, window.neurons[m]};
    kept.rates[m] = tensor(std::string("rates.") + kNames[m], shape);
    kept.voltage[m] = tensor(std::string("voltage.") + kNames[m], shape);
    kept.adaptation[m] = tensor(std::string("adaptation.") + kNames[m], shape);
  }
  kept.memory = tensor("memory", {after, batch, window.keys, window.neurons[kHippocampus]});
  kept.key = tensor("key", {after, batch, window.keys});
  kept.levels = tensor("levels", {after, batch, 3});
  kept.sums = tensor("sums", {window.tokens, batch, columns_of(window.neurons, window.keys).width});
  kept.decay = tensor("row_decay", {window.tokens, batch, window.neurons[kPrefrontal]});
  kept.opening = tensor("opening", {window.tokens, batch});
  return kept;
}

BrainGradients gradients_of(const BrainWindow& window, const py::dict& tensors) {
  const Named tensor(tensors);
  BrainGradients gradients{};
  for (int m = 0; m < kBrainModules; ++m) {
    const std::string name = std::string("rates.") + kNames[m];
    if (!tensor.empty(name)) gradients.rates[m] = tensor(name, {window.tokens, window.batch, window.neurons[m]});
  }
  gradients.sums = tensor("sums", {window.tokens, window.batch, columns_of(window.neurons, window.keys).width});
  gradients.vectors = tensor("vectors", {6, all_neurons(window)});
  gradients.gate = tensor("gate", {2, window.neurons[kPrefrontal]});
  gradients.key = tensor("key", {3, window.keys});
  gradients.plasticity = tensor("plasticity", {3});
  return gradients;
}

void forward(const Sizes& neurons, const Sizes& steps, const Numbers& numbers, int threads, const py::dict& inputs, const py::dict& kept) {
  const BrainWindow window = window_of(neurons, steps, numbers, threads, inputs);
  const BrainKept to = kept_of(window, kept);
  py::gil_scoped_release release;
  brain_forward(window, to);
}

void backward(const Sizes& neurons, const Sizes& steps, const Numbers& numbers, int threads, const py::dict& inputs, const py::dict& kept,
              const py::dict& gradients) {
  const BrainWindow window = window_of(neurons, steps, numbers, threads, inputs);
  const BrainKept from = kept_of(window, kept);
  const BrainGradients to = gradients_of(window, gradients);
  py::gil_scoped_release release;
  brain_backward(window, from, to);
}

// Where the sums of a token begin in a row of them, and their number.
std::map<std::string, std::int64_t> columns(const Sizes& neurons, std::int64_t keys) {
  require(neurons.size() == kBrainModules, "neurons must have a number for each module");
  const BrainColumns c = columns_of(neurons.data(), keys);
  return {{"thalamus", c.thalamus},
          {"wernicke", c.wernicke},
          {"prefrontal", c.prefrontal},
          {"gate", c.gate},
          {"key", c.key},
          {"value", c.value},
          {"basal_ganglia", c.basal_ganglia},
          {"broca", c.broca},
          {"go", c.go},
          {"hippocampus", c.hippocampus},
          {"width", c.width}};
}

}  // namespace

void bind_brain(py::module_& module) {
  module.def("brain_columns", &columns);
  module.def("brain_forward", &forward);
  module.def("brain_backward", &backward);
}

}  // namespace quintet

// An associative memory: its face to Python. Sizes and types are checked here, so that the library may trust its pointers.
#include "quintet/recall.hpp"

#include <pybind11/pybind11.h>

#include <string>

#include "spiking.hpp"
#include "tensor.hpp"

namespace quintet {

void bind_recall(py::module_& module);

namespace {

struct RecallInputs {
  RecallInputs(const py::object& m, const py::object& p, const py::object& k, const py::object& v, const py::object& lambda,
               const py::object& eta)
      : memory(m, "memory"), before(p, "before"), key(k, "key"), value(v, "value"), retention(lambda, "retention"),
        plasticity(eta, "plasticity") {
    const auto [batch, keys, width] = memory.shape;
    require(width > 0 && width % 16 == 0, "memory must have a multiple of 16 columns, not " + std::to_string(width));
    for (const auto* each : {&before, &key}) require_shape(*each, {batch, keys});
    require_shape(value, {batch, width});
    retention.require_size(0, keys);
    plasticity.require_size(0, batch);
    recall = {batch, keys, width, memory.data, before.data, key.data, value.data, retention.data, plasticity.data};
  }

  Tensor<float, 3> memory;
  Tensor<float, 2> before, key, value;
  Tensor<float, 1> retention, plasticity;
  Recall recall{};
};

void forward(const py::object& m, const py::object& p, const py::object& k, const py::object& v, const py::object& lambda,
             const py::object& eta, const py::object& memory, const py::object& recalled) {
  const RecallInputs inputs(m, p, k, v, lambda, eta);
  const Tensor<float, 3> to_memory(memory, "next_memory");
  const Tensor<float, 2> to_recalled(recalled, "recalled");
  require_shape(to_memory, {inputs.recall.batch, inputs.recall.keys, inputs.recall.width});
  require_shape(to_recalled, {inputs.recall.batch, inputs.recall.width});
  py::gil_scoped_release release;
  recall_forward(inputs.recall, to_memory.data, to_recalled.data);
}

void backward(const py::object& m, const py::object& p, const py::object& k, const py::object& v, const py::object& lambda,
              const py::object& eta, const py::object& recalled, const py::object& dm, const py::object& dp, const py::object& dk,
              const py::object& dv, const py::object& dlambda, const py::object& deta) {
  const RecallInputs inputs(m, p, k, v, lambda, eta);
  const Recall& recall = inputs.recall;
  const Tensor<float, 2> from(recalled, "recalled_gradient"), to_before(dp, "before_gradient"), to_key(dk, "key_gradient"),
      to_value(dv, "value_gradient");
  const Tensor<float, 3> memory(dm, "memory_gradient");
  const Tensor<float, 1> to_retention(dlambda, "retention_gradient"), to_plasticity(deta, "plasticity_gradient");
  require_shape(memory, {recall.batch, recall.keys, recall.width});
  for (const auto* each : {&from, &to_value}) require_shape(*each, {recall.batch, recall.width});
  for (const auto* each : {&to_before, &to_key}) require_shape(*each, {recall.batch, recall.keys});
  to_retention.require_size(0, recall.keys);
  to_plasticity.require_size(0, recall.batch);
  const RecallGradients gradients{from.data, memory.data, to_before.data, to_key.data, to_value.data, to_retention.data, to_plasticity.data};
  py::gil_scoped_release release;
  recall_backward(recall, gradients);
}

}  // namespace

void bind_recall(py::module_& module) {
  module.def("recall_forward", &forward);
  module.def("recall_backward", &backward);
}

}  // namespace quintet

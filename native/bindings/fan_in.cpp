// Sparse connections: their face to Python. Sizes, types and sources are checked here, so that the library may trust its pointers.
#include "quintet/fan_in.hpp"

#include <pybind11/pybind11.h>

#include <optional>
#include <string>

#include "spiking.hpp"
#include "tensor.hpp"

namespace quintet {

void bind_fan_in(py::module_& module);

namespace {

struct FanInInputs {
  FanInInputs(const py::object& w, const py::object& s, const py::object& inputs, int threads)
      : weight(w, "weight"), x(inputs, "x"), sources(s, "sources") {
    const auto [outputs, fan] = weight.shape;
    require(fan > 0 && fan % 16 == 0, "weight must have a multiple of 16 columns, not " + std::to_string(fan));
    require_shape(sources, {(outputs + kColumn - 1) / kColumn, fan});
    require(threads >= 1, "threads must be at least 1, not " + std::to_string(threads));
    check_sources();
    run = {x.shape[0], x.shape[1], outputs, fan, weight.data, sources.data, x.data, threads};
  }

  FanIn run{};

 private:
  // Rising, so that no source comes twice, from 0 to the last.
  void check_sources() const {
    const auto [rows, fan] = sources.shape;
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int32_t* own = sources.data + row * fan;
      bool rising = own[0] >= 0 && own[fan - 1] < x.shape[1];
      for (std::int64_t k = 1; k < fan; ++k) rising &= own[k] > own[k - 1];
      if (!rising) refuse(row, own, fan);
    }
  }

  // Says which source is the first that is wrong.
  void refuse(std::int64_t row, const std::int32_t* own, std::int64_t fan) const {
    std::int64_t k = 0, least = 0;
    while (k + 1 < fan && own[k] >= least && own[k] < x.shape[1]) least = own[k++] + std::int64_t{1};
    require(false, "sources[" + std::to_string(row) + ", " + std::to_string(k) + "] = " + std::to_string(own[k]) + " must be from " +
                       std::to_string(least) + " to " + std::to_string(x.shape[1] - 1) + ": the columns of x, rising along a row");
  }

  Tensor<float, 2> weight, x;
  Tensor<std::int32_t, 2> sources;
};

void forward(const py::object& weight, const py::object& sources, const py::object& x, int threads, const py::object& y) {
  const FanInInputs inputs(weight, sources, x, threads);
  const Tensor<float, 2> to(y, "y");
  require_shape(to, {inputs.run.batch, inputs.run.outputs});
  py::gil_scoped_release release;
  fan_in_forward(inputs.run, to.data);
}

void backward(const py::object& weight, const py::object& sources, const py::object& x, int threads, const py::object& gradient,
              bool accumulate, const py::object& dw, const py::object& dx) {
  const FanInInputs inputs(weight, sources, x, threads);
  const FanIn& run = inputs.run;
  const Tensor<float, 2> from(gradient, "y_gradient");
  require_shape(from, {run.batch, run.outputs});
  std::optional<Tensor<float, 2>> to_weight, to_x;
  if (!dw.is_none()) to_weight.emplace(dw, "weight_gradient");
  if (!dx.is_none()) to_x.emplace(dx, "x_gradient");
  if (to_weight) require_shape(*to_weight, {run.outputs, run.fan});
  if (to_x) require_shape(*to_x, {run.batch, run.inputs});
  const FanInGradients gradients{from.data, to_weight ? to_weight->data : nullptr, to_x ? to_x->data : nullptr, accumulate};
  py::gil_scoped_release release;
  fan_in_backward(run, gradients);
}

}  // namespace

void bind_fan_in(py::module_& module) {
  module.def("fan_in_forward", &forward);
  module.def("fan_in_backward", &backward);
}

}  // namespace quintet

// The linear operation and convolution, bound to Python.
#include "linear.hpp"

#include <pybind11/stl.h>

#include "quintet/convolution.hpp"

namespace quintet {

Form form_of(const std::string& name) {
  if (name == "nibble") return Form::kNibble;
  if (name == "dense") return Form::kDense;
  if (name == "byte") return Form::kByte;
  throw py::value_error("form must be 'nibble', 'dense' or 'byte', not '" + name + "'");
}

Activations activations_of(const std::string& name) {
  if (name == "float") return Activations::kFloat;
  if (name == "int8") return Activations::kInt8;
  throw py::value_error("activations must be 'float' or 'int8', not '" + name + "'");
}

void require_groups(std::int64_t columns, std::int64_t groups) {
  if (groups > 0 && columns % groups == 0) return;
  throw py::value_error("scale has " + std::to_string(groups) + " groups, which must divide " + std::to_string(columns) + " inputs");
}

void require_columns(Form form, std::int64_t columns) {
  if (columns < 0 || columns > max_columns(form)) {
    throw py::value_error("columns must be from 0 to " + std::to_string(max_columns(form)) + ", not " + std::to_string(columns));
  }
}

std::int64_t size_of_tiles(const std::string& form, std::int64_t rows, std::int64_t columns) {
  require_columns(form_of(form), columns);
  if (rows < 0) throw py::value_error("rows must be at least 0, not " + std::to_string(rows));
  return tiled_bytes(form_of(form), rows, columns);
}

Weights::Weights(const py::object& tiles, const std::string& form, const py::object& scale, const py::object& bias, std::int64_t columns)
    : tiles_(tiles, "tiles"), scale_(scale, "scale"), matrix_{tiles_.data, form_of(form), rows(), columns} {
  if (!bias.is_none()) bias_.emplace(bias, "bias");
  require_groups(columns, scale_.shape[0]);
  tiles_.require_size(0, size_of_tiles(form, rows(), columns));
  if (bias_) bias_->require_size(0, rows());
  if (!computes(level(), matrix_.form)) throw py::value_error("form '" + form + "' cannot be computed on level " + name_of(level()));
}

namespace {

template <class T>
void linear_of(const py::object& x, const py::object& tiles, const std::string& form, const py::object& scale, const py::object& bias,
               const std::string& activations, int threads, const py::object& y) {
  const Tensor<T, 2> input(x, "x"), output(y, "y");
  const Weights weights(tiles, form, scale, bias, input.shape[1]);
  output.require_size(0, input.shape[0]);
  output.require_size(1, weights.rows());
  const Activations mode = activations_of(activations);
  without_gil([&] { multiply(weights.linear(), input.data, input.shape[0], mode, threads, output.data); });
}

using Pair = std::array<std::int64_t, 2>;

void require_pair(const char* name, const Pair& pair, std::int64_t least) {
  for (std::int64_t each : pair) {
    if (each < least || each > kMaxSide) {
      throw py::value_error(std::string(name) + " must be from " + std::to_string(least) + " to " + std::to_string(kMaxSide) + ", not " +
                            std::to_string(each));
    }
  }
}

void require_windows(const Windows& w) {
  require_pair("kernel_size", w.kernel, 1);
  require_pair("stride", w.stride, 1);
  require_pair("padding", w.padding, 0);
  require_pair("dilation", w.dilation, 1);
  require_pair("x's height and width", w.size, 1);
  for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) {
    if (w.padded(axis) < w.extent(axis)) throw py::value_error("kernel_size must not be larger than the padded images x");
  }
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t plane = w.padded(0) * w.padded(1);
  if (plane > kMost || w.channels > kMost / plane) throw py::value_error("x must have fewer than 2^31 padded elements an image");
}

template <class T>
void conv2d_of(const py::object& x, const py::object& tiles, const std::string& form, const py::object& scale, const py::object& bias,
               const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation, const std::string& activations, int threads,
               const py::object& y) {
  const Tensor<T, 4> input(x, "x"), output(y, "y");
  const Windows windows{input.shape[0], input.shape[1], {input.shape[2], input.shape[3]}, kernel, stride, padding, dilation};
  require_windows(windows);
  const Weights weights(tiles, form, scale, bias, windows.columns());
  const std::array<std::int64_t, 4> shape{windows.batch, windows.output(0), windows.output(1), weights.rows()};
  for (int axis = 0; axis < 4; ++axis) output.require_size(axis, shape[static_cast<std::size_t>(axis)]);
  const Activations mode = activations_of(activations);
  without_gil([&] { convolve(weights.linear(), windows, input.data, mode, threads, output.data); });
}

}  // namespace

void bind_linear(py::module_& module);

void bind_linear(py::module_& module) {
  module.def("linear_float32", &linear_of<float>);
  module.def("linear_bfloat16", &linear_of<Bfloat16>);
  module.def("conv2d_float32", &conv2d_of<float>);
  module.def("conv2d_bfloat16", &conv2d_of<Bfloat16>);
}

}  // namespace quintet

// The Python module `quintet_native`: checks arguments, releases the GIL, calls the library. Only pipeline/ops imports it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "quintet/cpu.hpp"
#include "quintet/linear.hpp"
#include "quintet/packing.hpp"
#include "quintet/tiles.hpp"
#include "tensor.hpp"

namespace quintet {

void bind_recurrent(py::module_& module);
void bind_spiking(py::module_& module);
#if defined(QUINTET_WITH_CUDA)
void bind_cuda(py::module_& module);
#endif

namespace {

using Matrix = Tensor<std::uint8_t, 2>;
using Digits = Tensor<std::int8_t, 2>;
using Bytes = Tensor<std::uint8_t, 1>;
using Floats = Tensor<float, 1>;
using Scales = Tensor<float, 2>;

void refuse(const char* argument, const Fault& fault, int levels) {
  const std::string where = std::string(argument) + "[" + std::to_string(fault.row) + ", " + std::to_string(fault.column) + "]";
  const std::string value = std::to_string(fault.value);
  const Code code = code_of(levels);
  const auto digit = [&](int level) { return std::to_string(level - code.offset()); };
  switch (fault.kind) {
    case Fault::Kind::kNone: return;
    case Fault::Kind::kDigit: throw py::value_error(where + " = " + value + " must be a digit from " + digit(0) + " to " + digit(levels - 1));
    case Fault::Kind::kCode:
      throw py::value_error(where + " begins a code " + value + ", which must be at most " + std::to_string(code.limit() - 1));
    case Fault::Kind::kIndex: throw py::index_error("tokens holds " + std::to_string(fault.column) + ", which is no row of the matrix");
    case Fault::Kind::kPadding: throw py::value_error(where + " = " + value + " must hold only zeros after the last column");
  }
}

template <class F>
auto without_gil(F&& work) {
  const py::gil_scoped_release release;
  return work();
}

Form form_of(const std::string& name) {
  if (name == "nibble") return Form::kNibble;
  if (name == "dense") return Form::kDense;
  if (name == "byte") return Form::kByte;
  throw py::value_error("form must be 'nibble', 'dense' or 'byte', not '" + name + "'");
}

void require_levels(int levels) {
  if (code_of(levels).levels == 0) throw py::value_error("levels must be 3, 4, 5, 7, 9, 15 or 256, not " + std::to_string(levels));
}

Activations activations_of(const std::string& name) {
  if (name == "float") return Activations::kFloat;
  if (name == "int8") return Activations::kInt8;
  throw py::value_error("activations must be 'float' or 'int8', not '" + name + "'");
}

void pack_into(const py::object& digits, int levels, const py::object& packed) {
  require_levels(levels);
  const Digits source(digits, "digits");
  const Matrix target(packed, "packed");
  const auto [rows, columns] = source.shape;
  target.require_size(0, rows);
  target.require_size(1, bytes_in_row(columns, levels));
  refuse("digits", without_gil([&, r = rows, c = columns] { return pack(source.data, r, c, levels, target.data); }), levels);
}

void unpack_into(const py::object& packed, int levels, const py::object& digits) {
  require_levels(levels);
  const Matrix source(packed, "packed");
  const Digits target(digits, "digits");
  const auto [rows, columns] = target.shape;
  source.require_size(0, rows);
  source.require_size(1, bytes_in_row(columns, levels));
  refuse("packed", without_gil([&, r = rows, c = columns] { return unpack(source.data, r, c, levels, target.data); }), levels);
}

void require_groups(std::int64_t columns, std::int64_t groups) {
  if (groups > 0 && columns % groups == 0) return;
  throw py::value_error("scale has " + std::to_string(groups) + " groups, which must divide " + std::to_string(columns) + " inputs");
}

void lookup_into(const py::object& tokens, const py::object& packed, const py::object& scale, int levels, const py::object& rows) {
  require_levels(levels);
  const Tensor<std::int64_t, 1> indices(tokens, "tokens");
  const Matrix source(packed, "packed");
  const Scales scales(scale, "scale");
  const Tensor<float, 2> target(rows, "rows");
  const std::int64_t count = indices.shape[0], columns = target.shape[1];
  source.require_size(1, bytes_in_row(columns, levels));
  scales.require_size(0, source.shape[0]);
  const std::int64_t groups = scales.shape[1];
  require_groups(columns, groups);
  target.require_size(0, count);
  const auto work = [&] {
    return lookup(source.data, source.shape[0], columns, levels, scales.data, groups, indices.data, count, target.data);
  };
  refuse("packed", without_gil(work), levels);
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

void tile_into(const py::object& packed, std::int64_t columns, const std::string& form, int levels, const py::object& tiles) {
  require_levels(levels);
  const Form chosen = form_of(form);
  if (!holds(chosen, levels)) throw py::value_error("form '" + form + "' cannot hold " + std::to_string(levels) + " levels");
  const Matrix source(packed, "packed");
  const Bytes target(tiles, "tiles");
  require_columns(chosen, columns);
  source.require_size(1, bytes_in_row(columns, levels));
  target.require_size(0, size_of_tiles(form, source.shape[0], columns));
  refuse("packed", without_gil([&] { return tile(source.data, source.shape[0], columns, levels, chosen, target.data); }), levels);
}

void untile_into(const py::object& tiles, const std::string& form, const py::object& digits) {
  const Bytes source(tiles, "tiles");
  const Digits target(digits, "digits");
  const auto [rows, columns] = target.shape;
  source.require_size(0, size_of_tiles(form, rows, columns));
  const Tiles weights{source.data, form_of(form), rows, columns};
  without_gil([&] { untile(weights, target.data); });
}

template <class T>
void linear_of(const py::object& x, const py::object& tiles, const std::string& form, const py::object& scale, const py::object& bias,
               const std::string& activations, int threads, const py::object& y) {
  const Tensor<T, 2> input(x, "x"), output(y, "y");
  const Bytes weights(tiles, "tiles");
  const Scales scales(scale, "scale");
  std::optional<Floats> biases;
  if (!bias.is_none()) biases.emplace(bias, "bias");
  const std::int64_t tokens = input.shape[0], columns = input.shape[1], groups = scales.shape[0], rows = scales.shape[1];
  require_groups(columns, groups);
  weights.require_size(0, size_of_tiles(form, rows, columns));
  output.require_size(0, tokens);
  output.require_size(1, rows);
  if (biases) biases->require_size(0, rows);
  const Tiles matrix{weights.data, form_of(form), rows, columns};
  if (!computes(level(), matrix.form)) throw py::value_error("form '" + form + "' cannot be computed on level " + name_of(level()));
  const Linear linear{matrix, scales.data, biases ? biases->data : nullptr, groups};
  const Activations mode = activations_of(activations);
  without_gil([&] { multiply(linear, input.data, tokens, mode, threads, output.data); });
}

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (Level each : levels()) names.emplace_back(name_of(each));
  return names;
}

void use_level(const std::string& name) {
  for (Level each : levels()) {
    if (name == name_of(each)) {
      use(each);
      return;
    }
  }
  throw py::value_error("level must be one of " + py::cast<std::string>(py::repr(py::cast(level_names()))) + ", not '" + name + "'");
}

}  // namespace
}  // namespace quintet

PYBIND11_MODULE(quintet_native, module) {
  namespace py = pybind11;
  using py::arg;
  module.doc() = "Quintet's kernels. Tensors are anything with __dlpack__; results are written into the last argument.";
  module.attr("source_hash") = QUINTET_SOURCE_HASH;
  module.def("levels", &quintet::level_names, "Names of the levels that this processor can run, the lowest first.");
  module.def("level", [] { return quintet::name_of(quintet::level()); });
  module.def("use_level", &quintet::use_level, arg("level"));
  module.def("pack", &quintet::pack_into, arg("digits"), arg("levels"), arg("packed"));
  module.def("unpack", &quintet::unpack_into, arg("packed"), arg("levels"), arg("digits"));
  module.def("lookup", &quintet::lookup_into, arg("tokens"), arg("packed"), arg("scale"), arg("levels"), arg("rows"));
  module.def("tiled_bytes", &quintet::size_of_tiles, arg("form"), arg("rows"), arg("columns"));
  module.def("tile", &quintet::tile_into, arg("packed"), arg("columns"), arg("form"), arg("levels"), arg("tiles"));
  module.def("untile", &quintet::untile_into, arg("tiles"), arg("form"), arg("digits"));
  module.def("linear_float32", &quintet::linear_of<float>);
  module.def("linear_bfloat16", &quintet::linear_of<quintet::Bfloat16>);
  quintet::bind_recurrent(module);
  quintet::bind_spiking(module);
#if defined(QUINTET_WITH_CUDA)
  module.attr("backends") = py::make_tuple("cpu", "cuda");
  quintet::bind_cuda(module);
#else
  module.attr("backends") = py::make_tuple("cpu");
  module.def("cuda_devices", [] { return py::list(); });
#endif
}

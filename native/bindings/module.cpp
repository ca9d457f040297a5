// The Python module `quintet_native`: checks arguments, releases the GIL, calls the library. Only pipeline/ops imports it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "linear.hpp"
#include "quintet/cpu.hpp"
#include "quintet/packing.hpp"

namespace quintet {

void bind_brain(py::module_& module);
void bind_fan_in(py::module_& module);
void bind_linear(py::module_& module);
void bind_phase(py::module_& module);
void bind_recurrent(py::module_& module);
void bind_spiking(py::module_& module);
#if defined(QUINTET_WITH_CUDA)
void bind_cuda(py::module_& module);
#endif

namespace {

using Matrix = Tensor<std::uint8_t, 2>;
using Digits = Tensor<std::int8_t, 2>;

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

void require_levels(int levels) {
  if (code_of(levels).levels == 0) throw py::value_error("levels must be 3, 4, 5, 7, 9, 15 or 256, not " + std::to_string(levels));
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
  module.attr("compiler") = QUINTET_COMPILER;
  module.def("levels", &quintet::level_names, "Names of the levels that this processor can run, the lowest first.");
  module.def("level", [] { return quintet::name_of(quintet::level()); });
  module.def("use_level", &quintet::use_level, arg("level"));
  module.def("pack", &quintet::pack_into, arg("digits"), arg("levels"), arg("packed"));
  module.def("unpack", &quintet::unpack_into, arg("packed"), arg("levels"), arg("digits"));
  module.def("lookup", &quintet::lookup_into, arg("tokens"), arg("packed"), arg("scale"), arg("levels"), arg("rows"));
  module.def("tiled_bytes", &quintet::size_of_tiles, arg("form"), arg("rows"), arg("columns"));
  module.def("tile", &quintet::tile_into, arg("packed"), arg("columns"), arg("form"), arg("levels"), arg("tiles"));
  module.def("untile", &quintet::untile_into, arg("tiles"), arg("form"), arg("digits"));
  quintet::bind_brain(module);
  quintet::bind_fan_in(module);
  quintet::bind_linear(module);
  quintet::bind_phase(module);
  quintet::bind_recurrent(module);
  quintet::bind_spiking(module);
#if defined(QUINTET_WITH_CUDA)
  module.attr("backends") = py::make_tuple("cpu", "cuda");
  module.attr("cuda_architectures") = QUINTET_CUDA_ARCHITECTURES;
  quintet::bind_cuda(module);
#else
  module.attr("backends") = py::make_tuple("cpu");
  module.attr("cuda_architectures") = "";
  module.def("cuda_devices", [] { return py::list(); });
#endif
}

// The Python module `quintet_native`: checks arguments, releases the GIL, calls the library. Only pipeline/ops imports it.
#include <pybind11/pybind11.h>

#include "quintet/packing.hpp"
#include "tensor.hpp"

namespace quintet {
namespace {

std::string place(const char* argument, const Fault& fault) {
  return std::string(argument) + "[" + std::to_string(fault.row) + ", " + std::to_string(fault.column) + "]";
}

void refuse(const char* argument, const Fault& fault) {
  const std::string where = place(argument, fault), value = std::to_string(fault.value);
  switch (fault.kind) {
    case Fault::Kind::kNone: return;
    case Fault::Kind::kDigit: throw py::value_error(where + " = " + value + " must be a digit from -2 to 2");
    case Fault::Kind::kCode: throw py::value_error(where + " begins a code " + value + ", which must be at most 124");
    case Fault::Kind::kPadding: throw py::value_error(where + " = " + value + " must hold only zeros after the last column");
  }
}

void pack_into(const py::object& digits, const py::object& packed) {
  const Tensor<std::int8_t, 2> source(digits, "digits");
  const Tensor<std::uint8_t, 2> target(packed, "packed");
  const auto [rows, columns] = source.shape;
  target.require_size(0, rows);
  target.require_size(1, bytes_in_row(columns));
  Fault fault;
  {
    py::gil_scoped_release release;
    fault = pack(source.data, rows, columns, target.data);
  }
  refuse("digits", fault);
}

void unpack_into(const py::object& packed, const py::object& digits) {
  const Tensor<std::uint8_t, 2> source(packed, "packed");
  const Tensor<std::int8_t, 2> target(digits, "digits");
  const auto [rows, columns] = target.shape;
  source.require_size(0, rows);
  source.require_size(1, bytes_in_row(columns));
  Fault fault;
  {
    py::gil_scoped_release release;
    fault = unpack(source.data, rows, columns, target.data);
  }
  refuse("packed", fault);
}

}  // namespace
}  // namespace quintet

PYBIND11_MODULE(quintet_native, module) {
  namespace py = pybind11;
  module.doc() = "Quintet's kernels. Tensors are anything with __dlpack__; results are written into the last arguments.";
  module.attr("source_hash") = QUINTET_SOURCE_HASH;
  module.def("pack", &quintet::pack_into, py::arg("digits"), py::arg("packed"));
  module.def("unpack", &quintet::unpack_into, py::arg("packed"), py::arg("digits"));
}

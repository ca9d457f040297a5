// The CUDA linear operation's face to Python: sizes, types and devices are checked here, so that the kernels may trust their pointers.
#include "quintet/cuda/linear.hpp"

#include <optional>

#include "cuda.hpp"

namespace quintet {

void bind_cuda_linear(py::module_& module);

namespace {

using Bytes = Tensor<std::uint8_t, 1>;
using Matrix = Tensor<std::uint8_t, 2>;
using Fault = Tensor<std::int32_t, 1>;

void require(bool fine, const std::string& message) {
  if (!fine) throw py::value_error(message);
}

void require_columns(std::int64_t columns) {
  require(columns >= 0 && columns <= cuda::kMostColumns,
          "columns must be from 0 to " + std::to_string(cuda::kMostColumns) + ", not " + std::to_string(columns));
}

void require_groups(std::int64_t columns, std::int64_t groups) {
  require(groups > 0 && columns % groups == 0,
          "scale has " + std::to_string(groups) + " groups, which must divide " + std::to_string(columns) + " inputs");
}

// Kernels load 16 bytes at once.
void require_aligned(const Bytes& bytes, const char* argument) {
  require(reinterpret_cast<std::uintptr_t>(bytes.data) % 16 == 0, std::string(argument) + " must begin at a multiple of 16 bytes");
}

Activations activations_named(const std::string& name) {
  require(name == "float" || name == "int8", "activations must be 'float' or 'int8', not '" + name + "'");
  return name == "int8" ? Activations::kInt8 : Activations::kFloat;
}

void tile_into(const Place& place, const py::object& packed, std::int64_t columns, const py::object& tiles, const py::object& fault) {
  const Matrix source(packed, "packed", place.device());
  const Bytes target(tiles, "tiles", place.device());
  const Fault found(fault, "fault", place.device());
  require_columns(columns);
  source.require_size(1, bytes_in_row(columns));
  target.require_size(0, cuda::warp_bytes(source.shape[0], columns));
  found.require_size(0, 1);
  require_aligned(target, "tiles");
  place.run([&](void* stream) { return cuda::tile(source.data, source.shape[0], columns, target.data, found.data, stream); });
}

void untile_into(const Place& place, const py::object& tiles, const py::object& digits) {
  const Bytes source(tiles, "tiles", place.device());
  const Tensor<std::int8_t, 2> target(digits, "digits", place.device());
  const auto [rows, columns] = target.shape;
  require_columns(columns);
  source.require_size(0, cuda::warp_bytes(rows, columns));
  require_aligned(source, "tiles");
  place.run([&, r = rows, c = columns](void* stream) { return cuda::untile(source.data, r, c, target.data, stream); });
}

std::int64_t workspace(const Place&, std::int64_t tokens, std::int64_t columns, const std::string& activations) {
  require(tokens >= 0, "tokens must be at least 0, not " + std::to_string(tokens));
  require_columns(columns);
  return cuda::workspace_bytes(tokens, columns, activations_named(activations));
}

template <class T>
void linear_of(const Place& place, const py::object& x, const py::object& tiles, const py::object& scale, const py::object& bias,
               const std::string& activations, const py::object& space, const py::object& y) {
  const Tensor<T, 2> input(x, "x", place.device()), output(y, "y", place.device());
  const Bytes weights(tiles, "tiles", place.device()), work(space, "workspace", place.device());
  const Tensor<float, 2> scales(scale, "scale", place.device());
  std::optional<Tensor<float, 1>> biases;
  if (!bias.is_none()) biases.emplace(bias, "bias", place.device());
  const std::int64_t tokens = input.shape[0], columns = input.shape[1], groups = scales.shape[0], rows = scales.shape[1];
  require_columns(columns);
  require_groups(columns, groups);
  weights.require_size(0, cuda::warp_bytes(rows, columns));
  output.require_size(0, tokens);
  output.require_size(1, rows);
  if (biases) biases->require_size(0, rows);
  const Activations mode = activations_named(activations);
  work.require_size(0, cuda::workspace_bytes(tokens, columns, mode));
  require_aligned(weights, "tiles");
  require_aligned(work, "workspace");
  const cuda::WarpLinear product{weights.data, rows, columns, scales.data, biases ? biases->data : nullptr, groups};
  place.run([&](void* stream) { return cuda::multiply(product, input.data, tokens, mode, work.data, output.data, stream); });
}

void lookup_into(const Place& place, const py::object& tokens, const py::object& packed, const py::object& scale, int levels,
                 const py::object& rows, const py::object& fault) {
  require(code_of(levels).levels == levels, "levels must be one that has a packed form, not " + std::to_string(levels));
  const Tensor<std::int64_t, 1> indices(tokens, "tokens", place.device());
  const Matrix source(packed, "packed", place.device());
  const Tensor<float, 2> scales(scale, "scale", place.device()), target(rows, "rows", place.device());
  const Fault found(fault, "fault", place.device());
  const std::int64_t count = indices.shape[0], columns = target.shape[1], groups = scales.shape[1];
  source.require_size(1, bytes_in_row(columns, levels));
  scales.require_size(0, source.shape[0]);
  require_groups(columns, groups);
  target.require_size(0, count);
  found.require_size(0, 1);
  place.run([&](void* stream) {
    return cuda::lookup(source.data, source.shape[0], columns, levels, scales.data, groups, indices.data, count, target.data, found.data,
                        stream);
  });
}

}  // namespace

void bind_cuda_linear(py::module_& module) {
  module.def("cuda_tile", &tile_into);
  module.def("cuda_untile", &untile_into);
  module.def("cuda_workspace", &workspace);
  module.def("cuda_linear_float32", &linear_of<float>);
  module.def("cuda_linear_bfloat16", &linear_of<Bfloat16>);
  module.def("cuda_lookup", &lookup_into);
}

}  // namespace quintet

// llama.cpp's dot products of quantized rows (ggml's CPU library) behind three functions that Python can call.
#include <cstdint>
#include <cstring>
#include <vector>

#include "ggml-cpu.h"
#include "ggml.h"

// The type of that name ("q4_0"), or -1.
extern "C" int type_of(const char* name) {
  for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
    const char* each = ggml_type_name(static_cast<ggml_type>(type));
    if (each != nullptr && std::strcmp(each, name) == 0) return type;
  }
  return -1;
}

// Quantizes weights[rows, columns] into `out`, unless that is null; returns the bytes they take.
extern "C" std::size_t quantize(int type, const float* weights, std::int64_t rows, std::int64_t columns, void* out) {
  ggml_cpu_init();
  const auto kind = static_cast<ggml_type>(type);
  if (out != nullptr) ggml_quantize_chunk(kind, weights, out, 0, rows, columns, nullptr);
  return ggml_row_size(kind, columns) * static_cast<std::size_t>(rows);
}

// y[rows] = matrix times x[columns], a `vec_dot` a row; x is quantized as the type wants it.
extern "C" void multiply(int type, const std::uint8_t* matrix, std::int64_t rows, std::int64_t columns, const float* x, float* y) {
  const auto kind = static_cast<ggml_type>(type);
  const auto* traits = ggml_get_type_traits_cpu(kind);
  static std::vector<std::uint8_t> quantized;
  quantized.resize(ggml_row_size(traits->vec_dot_type, columns));
  ggml_get_type_traits_cpu(traits->vec_dot_type)->from_float(x, quantized.data(), columns);
  const std::size_t stride = ggml_row_size(kind, columns);
  for (std::int64_t r = 0; r < rows; ++r) traits->vec_dot(static_cast<int>(columns), y + r, 0, matrix + r * stride, 0, quantized.data(), 0, 1);
}

// What the bindings of operations on tiles share: the names of forms, and the checks of a matrix's arguments.
#pragma once

#include <optional>

#include "quintet/linear.hpp"
#include "quintet/tiles.hpp"
#include "tensor.hpp"

namespace quintet {

using Bytes = Tensor<std::uint8_t, 1>;
using Floats = Tensor<float, 1>;
using Scales = Tensor<float, 2>;

template <class F>
auto without_gil(F&& work) {
  const py::gil_scoped_release release;
  return work();
}

// The form of that name; raises ValueError for others.
Form form_of(const std::string& name);

Activations activations_of(const std::string& name);

// Raises ValueError unless `groups` groups of the same length make so many inputs.
void require_groups(std::int64_t columns, std::int64_t groups);

// Raises ValueError where a form cannot have so many columns.
void require_columns(Form form, std::int64_t columns);

std::int64_t size_of_tiles(const std::string& form, std::int64_t rows, std::int64_t columns);

// Tiles, scales [groups, rows] and bias [rows] or None, which belong together: a matrix of `columns` columns.
class Weights {
 public:
  Weights(const py::object& tiles, const std::string& form, const py::object& scale, const py::object& bias, std::int64_t columns);

  std::int64_t rows() const { return scale_.shape[1]; }
  Linear linear() const { return {matrix_, scale_.data, bias_ ? bias_->data : nullptr, scale_.shape[0]}; }

 private:
  Bytes tiles_;
  Scales scale_;
  std::optional<Floats> bias_;
  Tiles matrix_;
};

}  // namespace quintet

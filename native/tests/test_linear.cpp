// The linear operation with int8 activations against plain sums, exactly, on every level and form, for whole and broken blocks and steps.
#include <cmath>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "quintet/linear.hpp"

namespace {

using quintet::Activations;
using quintet::Form;

template <class T>
std::size_t index(T i) {
  return static_cast<std::size_t>(i);
}

struct Case {
  Case(std::int64_t rows_, std::int64_t columns_, std::int64_t tokens_, int levels_ = 5, std::int64_t groups_ = 1)
      : rows(rows_), columns(columns_), tokens(tokens_), levels(levels_), groups(groups_), digits(check::random_digits(rows * columns, levels)),
        packed(index(rows * quintet::bytes_in_row(columns, levels))), x(index(tokens * columns)), scale(index(groups * rows)), bias(index(rows)) {
    quintet::pack(digits.data(), rows, columns, levels, packed.data());
    // Whole numbers with a largest of 127: rounding to int8 changes nothing, so the sums are known.
    for (auto& value : x) value = static_cast<float>(check::random(255) - 127);
    for (std::int64_t t = 0; t < tokens; ++t) x[index(t * columns)] = 127;
    for (auto& value : scale) value = static_cast<float>(check::random(8) + 1) / 4;
    for (auto& value : bias) value = static_cast<float>(check::random(100));
  }

  std::vector<float> expected() const {
    std::vector<float> y(index(tokens * rows));
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t r = 0; r < rows; ++r) {
        float sum = bias[index(r)];  // quarters below 2^22: exact
        for (std::int64_t k = 0; k < columns; ++k) {
          const float w = static_cast<float>(digits[index(r * columns + k)]) * scale[index(k / (columns / groups) * rows + r)];
          sum += x[index(t * columns + k)] * w;
        }
        y[index(t * rows + r)] = sum;
      }
    }
    return y;
  }

  std::vector<float> computed(Form form, Activations activations, int threads) const {
    std::vector<std::uint8_t> tiles(index(quintet::tiled_bytes(form, rows, columns)));
    check::expect(!quintet::tile(packed.data(), rows, columns, levels, form, tiles.data()), "tile accepts packed weights", rows, columns);
    std::vector<std::int8_t> back(digits.size());
    quintet::untile({tiles.data(), form, rows, columns}, back.data());
    check::expect(back == digits, "tiles hold the digits", rows, columns);
    std::vector<float> y(index(tokens * rows), -1);
    quintet::multiply({{tiles.data(), form, rows, columns}, scale.data(), bias.data(), groups}, x.data(), tokens, activations, threads, y.data());
    return y;
  }

  std::int64_t rows, columns, tokens;
  int levels;
  std::int64_t groups;
  std::vector<std::int8_t> digits;
  std::vector<std::uint8_t> packed;
  std::vector<float> x, scale, bias;
};

void check_case(std::int64_t rows, std::int64_t columns, std::int64_t tokens, int levels = 5, std::int64_t groups = 1) {
  const Case c(rows, columns, tokens, levels, groups);
  const std::vector<float> expected = c.expected();
  for (quintet::Level level : quintet::levels()) {
    quintet::use(level);
    for (Form form : {Form::kNibble, Form::kDense, Form::kByte}) {
      if (!quintet::computes(level, form) || !quintet::holds(form, levels)) continue;
      for (Activations activations : {Activations::kInt8, Activations::kFloat}) {
        check::expect(c.computed(form, activations, 1) == expected, quintet::name_of(level), rows, columns);
        check::expect(c.computed(form, activations, 2) == expected, "two threads", rows, columns);
      }
    }
  }
}

void check_refused_weights() {
  Case c(3, 50, 1);
  c.packed[index(quintet::bytes_in_row(50)) + 2] = 0xFF;
  c.packed[index(quintet::bytes_in_row(50)) + 3] = 0xFF;
  std::vector<std::uint8_t> tiles(index(quintet::tiled_bytes(Form::kNibble, 3, 50)));
  const quintet::Fault fault = quintet::tile(c.packed.data(), 3, 50, 5, Form::kNibble, tiles.data());
  check::expect(fault.kind == quintet::Fault::Kind::kCode && fault.row == 1, "a bad code stops tile", 3, 50);
}

void check_lookup() {
  const Case c(7, 20, 1);
  const std::vector<std::int64_t> indices{6, 0, 6};
  std::vector<float> rows(index(3 * 20));
  check::expect(!quintet::lookup(c.packed.data(), 7, 20, 5, c.scale.data(), 1, indices.data(), 3, rows.data()), "lookup", 7, 20);
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t k = 0; k < 20; ++k) {
      const auto row = index(indices[index(i)]);
      const float expected = static_cast<float>(c.digits[row * 20 + index(k)]) * c.scale[row];
      check::expect(rows[index(i * 20 + k)] == expected, "rows of lookup", i, k);
    }
  }
  const std::int64_t outside = 7;
  const quintet::Fault fault = quintet::lookup(c.packed.data(), 7, 20, 5, c.scale.data(), 1, &outside, 1, rows.data());
  check::expect(fault.kind == quintet::Fault::Kind::kIndex && fault.column == 7, "lookup outside the matrix", 7, 20);
}

}  // namespace

int main() {
  for (std::int64_t rows : {1, 16, 17, 65, 128, 129, 272}) {
    for (std::int64_t columns : {1, 4, 7, 8, 12, 13, 200}) {
      for (std::int64_t tokens : {1, 2, 3, 5, 13}) check_case(rows, columns, tokens);
    }
  }
  for (const quintet::Code& code : quintet::kWidths) {
    for (std::int64_t tokens : {1, 3, 13}) check_case(144, 203, tokens, code.levels);
  }
  for (std::int64_t tokens : {1, 3, 13}) {
    check_case(17, 60, tokens, 5, 60);
    check_case(130, 70, tokens, 5, 10);
    check_case(100, 1152, tokens, 5, 3);
    check_case(129, 640, tokens, 5, 5);
  }
  check_case(130, 400, 200);
  check_case(1024, 1024, 2);
  check_refused_weights();
  check_lookup();
  return check::report();
}

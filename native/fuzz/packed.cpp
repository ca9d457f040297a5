// The fuzz target: arbitrary bytes as a packed matrix. No function reads or writes outside its arguments, all agree on what is refused, and
// what is accepted means the same to all of them: one packed form, the digits in every order of tiles, the exact product on every level.
#include <cstdio>
#include <cstdlib>

#include "input.hpp"
#include "quintet/linear.hpp"

namespace {

using fuzz::Input;
using quintet::Activations;
using quintet::Fault;
using quintet::Form;

void require(bool fine, const char* what, const Input& input) {
  if (fine) return;
  std::fprintf(stderr, "FAILED: %s (%d levels, %lld x %lld)\n", what, input.levels, static_cast<long long>(input.rows),
               static_cast<long long>(input.columns));
  std::abort();
}

template <class T>
std::size_t index(T i) {
  return static_cast<std::size_t>(i);
}

bool same(const Fault& a, const Fault& b) { return a.kind == b.kind && a.row == b.row && a.column == b.column && a.value == b.value; }

std::vector<std::uint8_t> room_for_tiles(const Input& input, Form form) {
  return std::vector<std::uint8_t>(index(quintet::tiled_bytes(form, input.rows, input.columns)));
}

// Activations that the rounding to 8 bits does not change: whole numbers with a largest of 127.
std::vector<float> activations(const Input& input) {
  std::vector<float> x(index(input.tokens * input.columns));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % index(input.columns) == 0 ? 127 : static_cast<float>(i * 37 % 255) - 127;
  return x;
}

float scale_of(std::int64_t group) { return group % 2 == 0 ? 0.25f : 0.5f; }

float weight(const Input& input, const std::vector<std::int8_t>& digits, std::int64_t row, std::int64_t column) {
  return scale_of(column / (input.columns / input.groups)) * static_cast<float>(digits[index(row * input.columns + column)]);
}

std::vector<float> product(const Input& input, Form form, const std::vector<std::uint8_t>& tiles, Activations mode) {
  const std::vector<float> x = activations(input);
  std::vector<float> scale(index(input.groups * input.rows)), y(index(input.tokens * input.rows));  // scale[groups, rows]
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = scale_of(static_cast<std::int64_t>(i) / input.rows);
  const quintet::Linear linear{{tiles.data(), form, input.rows, input.columns}, scale.data(), nullptr, input.groups};
  quintet::multiply(linear, x.data(), input.tokens, mode, 1, y.data());
  return y;
}

// All sums are multiples of 1/4 below 2^22: exact in float32 in any order.
std::vector<float> definition(const Input& input, const std::vector<std::int8_t>& digits) {
  const std::vector<float> x = activations(input);
  std::vector<float> y(index(input.tokens * input.rows));
  for (std::int64_t t = 0; t < input.tokens; ++t) {
    for (std::int64_t r = 0; r < input.rows; ++r) {
      float sum = 0;
      for (std::int64_t k = 0; k < input.columns; ++k) {
        sum += x[index(t * input.columns + k)] * weight(input, digits, r, k);
      }
      y[index(t * input.rows + r)] = sum;
    }
  }
  return y;
}

// The product from tiles, on every level that has it; `expected` is null where the tiles are no tiles and only must do no harm.
void multiply(const Input& input, Form form, const std::vector<std::uint8_t>& tiles, const std::vector<float>* expected) {
  for (const quintet::Level level : quintet::levels()) {
    if (!quintet::computes(level, form)) continue;
    quintet::use(level);
    for (const Activations mode : {Activations::kInt8, Activations::kFloat}) {
      const std::vector<float> y = product(input, form, tiles, mode);
      require(expected == nullptr || y == *expected, "the product is exact on every level", input);
    }
  }
}

void check_form(const Input& input, Form form, const Fault& fault, const std::vector<std::int8_t>& digits) {
  std::vector<std::uint8_t> tiles = room_for_tiles(input, form);
  require(same(quintet::tile(input.packed.data(), input.rows, input.columns, input.levels, form, tiles.data()), fault),
          "tile refuses what unpack refuses", input);
  std::vector<std::int8_t> back(index(input.rows * input.columns));
  if (!fault) {
    quintet::untile({tiles.data(), form, input.rows, input.columns}, back.data());
    require(back == digits, "tiles hold the digits", input);
    const std::vector<float> expected = definition(input, digits);
    multiply(input, form, tiles, &expected);
  } else {  // the bytes as they are, for tiles
    for (std::size_t i = 0; i < tiles.size(); ++i) tiles[i] = input.packed[i % input.packed.size()];
    quintet::untile({tiles.data(), form, input.rows, input.columns}, back.data());
    multiply(input, form, tiles, nullptr);
  }
}

void check_lookup(const Input& input, const Fault& fault, const std::vector<std::int8_t>& digits) {
  std::vector<float> scale(index(input.rows * input.groups));  // [rows, groups]
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = scale_of(static_cast<std::int64_t>(i) % input.groups);
  for (std::int64_t r = 0; r < input.rows; ++r) {
    const std::int64_t rows[] = {r, input.rows};  // the second is no row
    std::vector<float> values(index(2 * input.columns));
    const Fault found =
        quintet::lookup(input.packed.data(), input.rows, input.columns, input.levels, scale.data(), input.groups, rows, 2, values.data());
    require(bool(found), "lookup refuses what is no row", input);
    require(fault || found.kind == Fault::Kind::kIndex, "lookup accepts what unpack accepts", input);
    require(!fault || fault.row != r || found.kind == fault.kind, "lookup refuses what unpack refuses", input);
    for (std::int64_t k = 0; !fault && k < input.columns; ++k) {
      require(values[index(k)] == weight(input, digits, r, k), "lookup gives the weights", input);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Input input(data, size);
  std::vector<std::int8_t> digits(index(input.rows * input.columns));
  const Fault fault = quintet::unpack(input.packed.data(), input.rows, input.columns, input.levels, digits.data());
  if (!fault) {
    std::vector<std::uint8_t> again(input.packed.size(), 0xAA);
    require(!quintet::pack(digits.data(), input.rows, input.columns, input.levels, again.data()), "unpack gives digits", input);
    require(again == input.packed, "what is accepted is the one packed form of its digits", input);
  } else {
    require(fault.row >= 0 && fault.row < input.rows, "the fault lies in the matrix", input);
  }
  check_lookup(input, fault, digits);
  for (const Form form : {Form::kNibble, Form::kDense, Form::kByte}) {
    if (quintet::holds(form, input.levels)) check_form(input, form, fault, digits);
  }
  return 0;
}

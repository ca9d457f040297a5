// The CUDA linear operation under the emulator against the CPU library: the same bytes with int8 activations, for whole and broken pieces, every
// code, several groups, and numbers that are not finite; close to it with float ones.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "../check.hpp"
#include "device.cuh"
#include "quintet/cuda/linear.hpp"

namespace {

using quintet::Activations;
using quintet::Bfloat16;
using quintet::Form;
namespace cuda = quintet::cuda;

template <class T>
std::size_t index(T i) {
  return static_cast<std::size_t>(i);
}

void set(float& to, float value) { to = value; }
void set(Bfloat16& to, float value) { to.bits = cuda::to_bf16(value); }
float value_of(float x) { return x; }
float value_of(Bfloat16 x) { return cuda::from_bf16(x.bits); }

template <class T>
struct Case {
  Case(std::int64_t rows_, std::int64_t columns_, std::int64_t tokens_, std::int64_t groups_)
      : rows(rows_), columns(columns_), tokens(tokens_), groups(groups_), digits(check::random_digits(rows * columns)),
        packed(index(rows * quintet::bytes_in_row(columns))), x(index(tokens * columns)), scale(index(rows * groups)), bias(index(rows)) {
    quintet::pack(digits.data(), rows, columns, 5, packed.data());
    for (auto& value : x) set(value, static_cast<float>(check::random(20001) - 10000) / 3000.0F);
    for (auto& value : scale) value = static_cast<float>(check::random(1000) + 1) / 700.0F;
    for (auto& value : bias) value = static_cast<float>(check::random(2001) - 1000) / 90.0F;
  }

  std::vector<T> on_cpu(Activations activations, bool with_bias) const {
    std::vector<std::uint8_t> tiles(index(quintet::tiled_bytes(Form::kNibble, rows, columns)));
    check::expect(!quintet::tile(packed.data(), rows, columns, 5, Form::kNibble, tiles.data()), "tile", rows, columns);
    std::vector<T> y(index(tokens * rows));
    const quintet::Linear linear{{tiles.data(), Form::kNibble, rows, columns}, scale.data(), with_bias ? bias.data() : nullptr, groups};
    quintet::multiply(linear, x.data(), tokens, activations, 1, y.data());
    return y;
  }

  std::vector<T> on_cuda(Activations activations, bool with_bias) const {
    std::vector<std::uint8_t> tiles(index(cuda::warp_bytes(rows, columns)), 0xFF);
    int fault = 0;
    check::expect(cuda::tile(packed.data(), rows, columns, tiles.data(), &fault, nullptr).ok() && fault == 0, "tile on CUDA", rows, columns);
    std::vector<std::int8_t> back(digits.size());
    check::expect(cuda::untile(tiles.data(), rows, columns, back.data(), nullptr).ok() && back == digits, "digits again", rows, columns);
    std::vector<unsigned char> workspace(index(cuda::workspace_bytes(tokens, columns, activations)), 0xFF);
    std::vector<T> y(index(tokens * rows));
    for (auto& value : y) set(value, std::numeric_limits<float>::quiet_NaN());
    const cuda::WarpLinear linear{tiles.data(), rows, columns, scale.data(), with_bias ? bias.data() : nullptr, groups};
    check::expect(cuda::multiply(linear, x.data(), tokens, activations, workspace.data(), y.data(), nullptr).ok(), "multiply", rows, columns);
    return y;
  }

  std::int64_t rows, columns, tokens, groups;
  std::vector<std::int8_t> digits;
  std::vector<std::uint8_t> packed;
  std::vector<T> x;
  std::vector<float> scale, bias;
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(value_of(a[i])) != std::isnan(value_of(b[i]))) return false;
    if (!std::isnan(value_of(a[i])) && std::memcmp(&a[i], &b[i], sizeof a[i]) != 0) return false;
  }
  return a.size() == b.size();
}

template <class T>
bool close(const std::vector<T>& a, const std::vector<T>& b, float tolerance) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(value_of(a[i]) - value_of(b[i])) <= tolerance * (1 + std::fabs(value_of(b[i]))))) return false;
  }
  return a.size() == b.size();
}

template <class T>
void check_case(std::int64_t rows, std::int64_t columns, std::int64_t tokens, std::int64_t groups = 1) {
  const Case<T> c(rows, columns, tokens, groups);
  for (bool with_bias : {false, true}) {
    check::expect(same(c.on_cuda(Activations::kInt8, with_bias), c.on_cpu(Activations::kInt8, with_bias)), "int8 as on the CPU", rows, columns);
  }
  const float tolerance = sizeof(T) == 2 ? 0.01F : 1e-4F * std::max(1.0F, static_cast<float>(columns) / 500.0F);  // long sums round more
  check::expect(close(c.on_cuda(Activations::kFloat, true), c.on_cpu(Activations::kFloat, true), tolerance), "float", rows, columns);
}

void check_sizes() {
  for (std::int64_t rows : {1, 70}) {
    for (std::int64_t columns : {1, 96, 200}) {
      for (std::int64_t tokens : {1, 2, 3, 9}) check_case<float>(rows, columns, tokens);
    }
  }
  for (std::int64_t tokens : {8, 16, 17, 33, 64, 65, 130}) check_case<float>(33, 100, tokens);
  check_case<float>(3, 96 * 50 + 5, 2);   // more pieces than warps, three times over
  check_case<float>(2, 13000, 2);         // more words than a block rounds for itself
  check_case<Bfloat16>(40, 100, 2);
  check_case<Bfloat16>(40, 100, 20);
  for (std::int64_t groups : {2, 5, 10}) check_case<float>(35, 100, 6, groups);
  check_case<Bfloat16>(35, 100, 3, 4);
  for (auto [rows, columns, tokens] : {std::array{0, 5, 2}, std::array{5, 0, 2}, std::array{5, 7, 0}}) check_case<float>(rows, columns, tokens);
}

void check_every_code() {
  Case<float> c(125, 3 * 32, 1, 1);
  for (int r = 0; r < 125; ++r) {
    for (int k = 0; k < 96; ++k) c.digits[index(96 * r + k)] = static_cast<std::int8_t>((k % 3 == 0 ? r : k % 3 == 1 ? r / 5 : r / 25) % 5 - 2);
  }
  quintet::pack(c.digits.data(), c.rows, c.columns, 5, c.packed.data());
  check::expect(same(c.on_cuda(Activations::kInt8, true), c.on_cpu(Activations::kInt8, true)), "every code", 125, 96);
}

void check_extremes() {
  Case<float> c(33, 5000, 9, 1);
  std::fill(c.digits.begin(), c.digits.end(), std::int8_t{-2});
  quintet::pack(c.digits.data(), c.rows, c.columns, 5, c.packed.data());
  for (std::int64_t k = 0; k < 5000; ++k) {
    c.x[index(k)] = 3.0F;             // the largest sum
    c.x[index(5000 + k)] = 0.0F;      // zeros
    c.x[index(2 * 5000 + k)] = 1e-38F;  // counts as zero
  }
  c.x[index(3 * 5000 + 17)] = std::numeric_limits<float>::infinity();
  c.x[index(4 * 5000 + 4999)] = std::numeric_limits<float>::quiet_NaN();
  check::expect(same(c.on_cuda(Activations::kInt8, true), c.on_cpu(Activations::kInt8, true)), "extreme numbers", 33, 5000);
}

bool refused(const Case<float>& c) {
  std::vector<std::uint8_t> tiles(index(cuda::warp_bytes(c.rows, c.columns)));
  int fault = 0;
  check::expect(cuda::tile(c.packed.data(), c.rows, c.columns, tiles.data(), &fault, nullptr).ok(), "tile", c.rows, c.columns);
  return fault != 0;
}

void check_refused() {
  const Case<float> whole(3, 50, 1, 1);
  const std::int64_t bytes = quintet::bytes_in_row(50);  // 17 codes, 119 bits, 15 bytes
  check::expect(!refused(whole), "good weights", 3, 50);
  for (auto [byte, value] : {std::array{0, 0xFF}, std::array{14, 62 | 0x80}, std::array{14, 0}}) {  // a code 127; a bit left over; padding -2
    Case<float> c = whole;
    c.packed[index(bytes + byte)] = static_cast<std::uint8_t>(value);
    std::vector<std::int8_t> digits(c.digits.size());
    check::expect(refused(c) && quintet::unpack(c.packed.data(), 3, 50, 5, digits.data()), "bad weights are refused on both", byte, value);
  }
}

void check_lookup() {
  for (const quintet::Code& code : quintet::kWidths) {
    const std::int64_t rows = 5, columns = 60, groups = 3;
    std::vector<std::int8_t> digits(index(rows * columns));
    for (auto& w : digits) w = static_cast<std::int8_t>(check::random(code.levels) - code.offset());
    std::vector<std::uint8_t> packed(index(rows * quintet::bytes_in_row(columns, code.levels)));
    quintet::pack(digits.data(), rows, columns, code.levels, packed.data());
    std::vector<float> scale(index(rows * groups)), expected(4 * 60), found(4 * 60);
    for (auto& value : scale) value = static_cast<float>(check::random(100)) / 7.0F;
    std::vector<std::int64_t> indices{4, 0, 2, 4};
    check::expect(!quintet::lookup(packed.data(), rows, columns, code.levels, scale.data(), groups, indices.data(), 4, expected.data()), "lookup");
    int fault = 0;
    const auto look = [&] {
      return cuda::lookup(packed.data(), rows, columns, code.levels, scale.data(), groups, indices.data(), 4, found.data(), &fault, nullptr).ok();
    };
    check::expect(look() && fault == 0 && found == expected, "lookup on CUDA", code.levels);
    for (std::int64_t outside : {std::int64_t{-1}, rows, std::int64_t{1} << 62}) {
      indices[2] = outside;
      fault = 0;
      check::expect(look() && fault == 2, "an index outside", code.levels);
    }
  }
}

}  // namespace

int main() {
  for (bool backward : {false, true}) {
    cuda::emulator::backward = backward;
    check_sizes();
    check_every_code();
    check_extremes();
    check_refused();
    check_lookup();
  }
  return check::report();
}

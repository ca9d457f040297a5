// The packed form of every width against its definition, digit by digit, for every code, every tail and every kind of fault.
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "quintet/packing.hpp"

namespace {

using check::expect;
using check::random_digits;
using quintet::Fault;
using Digits = std::vector<std::int8_t>;
using Bytes = std::vector<std::uint8_t>;

// The definition, bit by bit.
Bytes reference(const Digits& digits, std::int64_t rows, std::int64_t columns, int levels) {
  const quintet::Code form = quintet::code_of(levels);
  const std::int64_t bytes = quintet::bytes_in_row(columns, levels);
  Bytes packed(static_cast<std::size_t>(rows * bytes), 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < quintet::codes_in_row(columns, levels); ++i) {
      int code = 0;
      for (std::int64_t k = form.digits * (i + 1) - 1; k >= form.digits * i; --k) {
        code = code * levels + (k < columns ? digits[static_cast<std::size_t>(r * columns + k)] : 0) + form.offset();
      }
      for (std::int64_t b = 0; b < form.bits; ++b) {
        const auto byte = static_cast<std::size_t>(r * bytes + (form.bits * i + b) / 8);
        packed[byte] = static_cast<std::uint8_t>(packed[byte] | (code >> b & 1) << (form.bits * i + b) % 8);
      }
    }
  }
  return packed;
}

void check_round_trip(std::int64_t rows, std::int64_t columns, int levels) {
  const Digits digits = random_digits(rows * columns, levels);
  Bytes packed(static_cast<std::size_t>(rows * quintet::bytes_in_row(columns, levels)), 0xAA);
  expect(!quintet::pack(digits.data(), rows, columns, levels, packed.data()), "pack accepts digits", rows, columns);
  expect(packed == reference(digits, rows, columns, levels), "pack equals the definition", rows, columns);
  Digits back(digits.size(), 99);
  expect(!quintet::unpack(packed.data(), rows, columns, levels, back.data()), "unpack accepts what pack made", rows, columns);
  expect(back == digits, "unpack gives the digits back", rows, columns);
}

void check_every_code(int levels) {
  const quintet::Code form = quintet::code_of(levels);
  Digits digits;
  for (int c = 0; c < form.limit(); ++c) {
    for (int d = 0, rest = c; d < form.digits; ++d, rest /= levels) digits.push_back(static_cast<std::int8_t>(rest % levels - form.offset()));
  }
  const auto columns = static_cast<std::int64_t>(digits.size());
  Bytes packed(static_cast<std::size_t>(quintet::bytes_in_row(columns, levels)));
  Digits back(digits.size());
  const bool fine = !quintet::pack(digits.data(), 1, columns, levels, packed.data()) &&
                    !quintet::unpack(packed.data(), 1, columns, levels, back.data());
  expect(fine && back == digits && packed == reference(digits, 1, columns, levels), "every code", levels, columns);
}

// Every single corruption of a row either decodes to other digits that pack to the very same bytes, or is refused.
void check_corruption(std::int64_t columns, int levels) {
  Digits digits = random_digits(2 * columns, levels), back(digits.size());
  Bytes packed = reference(digits, 2, columns, levels), again(packed.size());
  for (std::size_t i = 0; i < packed.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes damaged = packed;
      damaged[i] = static_cast<std::uint8_t>(damaged[i] ^ 1 << bit);
      const Fault fault = quintet::unpack(damaged.data(), 2, columns, levels, back.data());
      if (fault) {
        expect(fault.row == static_cast<std::int64_t>(i) / quintet::bytes_in_row(columns, levels), "the fault's row", 2, columns);
      } else {
        const bool packs = !quintet::pack(back.data(), 2, columns, levels, again.data());
        expect(packs && again == damaged, "what is accepted is canonical", 2, columns);
      }
    }
  }
}

void check_bad_digits() {
  for (int bad : {-128, -3, 3, 127}) {
    Digits digits = random_digits(3 * 50);
    digits[50 + 7] = static_cast<std::int8_t>(bad);
    Bytes packed(static_cast<std::size_t>(3 * quintet::bytes_in_row(50)));
    const Fault fault = quintet::pack(digits.data(), 3, 50, 5, packed.data());
    const bool named = fault.kind == Fault::Kind::kDigit && fault.row == 1 && fault.column == 7 && fault.value == bad;
    expect(named, "a bad digit is named", 3, 50);
  }
}

// All bits that are left over after the last of a row's codes are looked at, also where they would read as a code above 124.
void check_spare_bits() {
  Bytes packed(static_cast<std::size_t>(quintet::bytes_in_row(19)), 0);
  packed.back() = 0xFA;
  Digits back(19);
  expect(quintet::unpack(packed.data(), 1, 19, 5, back.data()).kind == Fault::Kind::kPadding, "spare bits are refused", 1, 19);
}

}  // namespace

int main() {
  for (const quintet::Code& code : quintet::kWidths) {
    for (std::int64_t columns = 0; columns <= 100; ++columns) check_round_trip(3, columns, code.levels);
    check_round_trip(0, 17, code.levels);
    check_round_trip(129, 4096, code.levels);
    check_every_code(code.levels);
    for (std::int64_t columns : {1, 2, 3, 5, 19, 23, 24, 25, 49}) check_corruption(columns, code.levels);
  }
  check_bad_digits();
  check_spare_bits();
  return check::report();
}

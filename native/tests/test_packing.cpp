// The packed form against its definition, digit by digit, for every code, every tail and every kind of fault.
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
Bytes reference(const Digits& digits, std::int64_t rows, std::int64_t columns) {
  const std::int64_t bytes = quintet::bytes_in_row(columns);
  Bytes packed(static_cast<std::size_t>(rows * bytes), 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < quintet::codes_in_row(columns); ++i) {
      int code = 0;
      for (std::int64_t k = 3 * i + 2; k >= 3 * i; --k) {
        code = code * 5 + (k < columns ? digits[static_cast<std::size_t>(r * columns + k)] : 0) + 2;
      }
      for (std::int64_t b = 0; b < 7; ++b) {
        const auto byte = static_cast<std::size_t>(r * bytes + (7 * i + b) / 8);
        packed[byte] = static_cast<std::uint8_t>(packed[byte] | (code >> b & 1) << (7 * i + b) % 8);
      }
    }
  }
  return packed;
}

void check_round_trip(std::int64_t rows, std::int64_t columns) {
  const Digits digits = random_digits(rows * columns);
  Bytes packed(static_cast<std::size_t>(rows * quintet::bytes_in_row(columns)), 0xAA);
  expect(!quintet::pack(digits.data(), rows, columns, packed.data()), "pack accepts digits", rows, columns);
  expect(packed == reference(digits, rows, columns), "pack equals the definition", rows, columns);
  Digits back(digits.size(), 99);
  expect(!quintet::unpack(packed.data(), rows, columns, back.data()), "unpack accepts what pack made", rows, columns);
  expect(back == digits, "unpack gives the digits back", rows, columns);
}

void check_every_code() {
  Digits digits;
  for (int c = 0; c < quintet::kCodes; ++c) {
    for (int d : {c % 5, c / 5 % 5, c / 25}) digits.push_back(static_cast<std::int8_t>(d - 2));
  }
  const auto columns = static_cast<std::int64_t>(digits.size());
  Bytes packed(static_cast<std::size_t>(quintet::bytes_in_row(columns)));
  Digits back(digits.size());
  const bool fine = !quintet::pack(digits.data(), 1, columns, packed.data()) && !quintet::unpack(packed.data(), 1, columns, back.data());
  expect(fine && back == digits && packed == reference(digits, 1, columns), "every code", 1, columns);
}

// Every single corruption of a row either decodes to other digits that pack to the very same bytes, or is refused.
void check_corruption(std::int64_t columns) {
  Digits digits = random_digits(2 * columns), back(digits.size());
  Bytes packed = reference(digits, 2, columns), again(packed.size());
  for (std::size_t i = 0; i < packed.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes damaged = packed;
      damaged[i] = static_cast<std::uint8_t>(damaged[i] ^ 1 << bit);
      const Fault fault = quintet::unpack(damaged.data(), 2, columns, back.data());
      if (fault) {
        expect(fault.row == static_cast<std::int64_t>(i) / quintet::bytes_in_row(columns), "the fault's row", 2, columns);
      } else {
        const bool packs = !quintet::pack(back.data(), 2, columns, again.data());
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
    const Fault fault = quintet::pack(digits.data(), 3, 50, packed.data());
    const bool named = fault.kind == Fault::Kind::kDigit && fault.row == 1 && fault.column == 7 && fault.value == bad;
    expect(named, "a bad digit is named", 3, 50);
  }
}

// All bits that are left over after the last of a row's codes are looked at, also where they would read as a code above 124.
void check_spare_bits() {
  Bytes packed(static_cast<std::size_t>(quintet::bytes_in_row(19)), 0);
  packed.back() = 0xFA;
  Digits back(19);
  expect(quintet::unpack(packed.data(), 1, 19, back.data()).kind == Fault::Kind::kPadding, "spare bits are refused", 1, 19);
}

}  // namespace

int main() {
  for (std::int64_t columns = 0; columns <= 100; ++columns) check_round_trip(3, columns);
  check_round_trip(0, 17);
  check_round_trip(129, 4096);
  check_every_code();
  for (std::int64_t columns : {1, 2, 3, 5, 19, 23, 24, 25, 49}) check_corruption(columns);
  check_bad_digits();
  check_spare_bits();
  return check::report();
}

// Packing and unpacking in portable 64-bit arithmetic: a block of 8 codes is one 56-bit word, spread or squeezed in three steps of shift and mask.
#include "quintet/packing.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace quintet {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read from and written to memory as they lie there");

constexpr int kBlockCodes = 8;
constexpr int kBlockBytes = 7;
constexpr int kBlockDigits = kBlockCodes * kDigitsPerCode;

// 8 codes, one a byte -> 56 bits. Pairs of 7 close to 14 bits, of 14 to 28, of 28 to 56.
std::uint64_t squeeze(std::uint64_t codes) {
  codes = (codes & 0x007F007F007F007F) | (codes & 0x7F007F007F007F00) >> 1;
  codes = (codes & 0x00003FFF00003FFF) | (codes & 0x3FFF00003FFF0000) >> 2;
  return (codes & 0x000000000FFFFFFF) | (codes & 0x0FFFFFFF00000000) >> 4;
}

// The way back.
std::uint64_t spread(std::uint64_t bits) {
  bits = (bits & 0x000000000FFFFFFF) | (bits & 0x00FFFFFFF0000000) << 4;
  bits = (bits & 0x00003FFF00003FFF) | (bits & 0x0FFFC0000FFFC000) << 2;
  return (bits & 0x007F007F007F007F) | (bits & 0x3F803F803F803F80) << 1;
}

// Bit 7 of a byte is set in the result where that byte's code is 125, 126 or 127.
std::uint64_t beyond(std::uint64_t codes) { return (codes + 0x0303030303030303) & 0x8080808080808080; }

std::uint64_t code_of(const std::int8_t* w) { return static_cast<std::uint64_t>(w[0] + 5 * w[1] + 25 * w[2] + 62); }

// The three digits of each code in the low three bytes of a word.
constexpr std::array<std::uint32_t, 128> kDigitsOf = [] {
  std::array<std::uint32_t, 128> table{};
  for (std::uint32_t c = 0; c < kCodes; ++c) {
    table[c] = ((c % 5 - 2) & 0xFF) | ((c / 5 % 5 - 2) & 0xFF) << 8 | ((c / 25 - 2) & 0xFF) << 16;
  }
  return table;
}();

bool all_digits(const std::int8_t* row, std::int64_t columns) {
  unsigned bad = 0;
  for (std::int64_t k = 0; k < columns; ++k) bad |= static_cast<std::uint8_t>(row[k] + 2) > 4;
  return bad == 0;
}

Fault first_bad_digit(const std::int8_t* digits, std::int64_t row, std::int64_t columns) {
  const std::int8_t* first = std::find_if(digits, digits + columns, [](int w) { return w < -2 || w > 2; });
  return {Fault::Kind::kDigit, row, first - digits, *first};
}

void pack_row(const std::int8_t* digits, std::int64_t columns, std::uint8_t* packed) {
  for (; columns >= kBlockDigits; columns -= kBlockDigits, digits += kBlockDigits, packed += kBlockBytes) {
    std::uint64_t codes = 0;
    for (int i = 0; i < kBlockCodes; ++i) codes |= code_of(digits + kDigitsPerCode * i) << 8 * i;
    const std::uint64_t bits = squeeze(codes);
    std::memcpy(packed, &bits, kBlockBytes);
  }
  std::int8_t tail[kBlockDigits] = {};
  std::copy_n(digits, columns, tail);
  std::uint64_t codes = 0;
  for (int i = 0; i < codes_in_row(columns); ++i) codes |= code_of(tail + kDigitsPerCode * i) << 8 * i;
  const std::uint64_t bits = squeeze(codes);
  std::memcpy(packed, &bits, static_cast<std::size_t>(bytes_in_row(columns)));
}

// Digits of the 8 codes in `codes`, written to 24 bytes.
void write_digits(std::uint64_t codes, std::int8_t* digits) {
  for (int i = 0; i < kBlockCodes; ++i) std::memcpy(digits + kDigitsPerCode * i, &kDigitsOf[codes >> 8 * i & 0x7F], kDigitsPerCode);
}

// Unpacks what is left of a row after its whole blocks: fewer than 24 digits. Returns what is wrong with it (row and column unset).
Fault unpack_tail(const std::uint8_t* packed, std::int64_t columns, std::int8_t* digits) {
  const std::int64_t codes = codes_in_row(columns), bytes = bytes_in_row(columns);
  std::uint64_t bits = 0;
  std::memcpy(&bits, packed, static_cast<std::size_t>(bytes));
  const Fault padding{Fault::Kind::kPadding, 0, bytes - 1, bytes == 0 ? 0 : packed[bytes - 1]};
  if (bits >> kBitsPerCode * codes != 0) return padding;
  bits = spread(bits);
  if (beyond(bits)) return {Fault::Kind::kCode, 0, 0, 0};
  std::int8_t tail[kBlockDigits];
  write_digits(bits, tail);
  std::copy_n(tail, columns, digits);
  const bool zero = std::all_of(tail + columns, tail + codes * kDigitsPerCode, [](int w) { return w == 0; });
  return zero ? Fault{} : padding;
}

// Looks again at a row that holds a code above 124, for the first one's place: its first byte in the row.
Fault first_bad_code(const std::uint8_t* packed, std::int64_t row, std::int64_t columns) {
  const std::int64_t bytes = bytes_in_row(columns);
  for (std::int64_t i = 0; i < codes_in_row(columns); ++i) {
    const std::int64_t byte = i * kBitsPerCode / 8;
    const int pair = packed[byte] | (byte + 1 < bytes ? packed[byte + 1] : 0) << 8;
    const int code = pair >> (i * kBitsPerCode % 8) & 0x7F;
    if (code >= kCodes) return {Fault::Kind::kCode, row, byte, code};
  }
  return {};
}

Fault unpack_row(const std::uint8_t* packed, std::int64_t columns, std::int8_t* digits) {
  std::uint64_t bad = 0;
  for (; columns >= kBlockDigits; columns -= kBlockDigits, digits += kBlockDigits, packed += kBlockBytes) {
    std::uint64_t codes = 0;
    std::memcpy(&codes, packed, kBlockBytes);
    codes = spread(codes);
    bad |= beyond(codes);
    write_digits(codes, digits);
  }
  const Fault fault = unpack_tail(packed, columns, digits);
  return bad ? Fault{Fault::Kind::kCode, 0, 0, 0} : fault;
}

}  // namespace

Fault pack(const std::int8_t* digits, std::int64_t rows, std::int64_t columns, std::uint8_t* packed) {
  if (columns == 0) return {};
  for (std::int64_t r = 0; r < rows; ++r, digits += columns, packed += bytes_in_row(columns)) {
    if (!all_digits(digits, columns)) return first_bad_digit(digits, r, columns);
    pack_row(digits, columns, packed);
  }
  return {};
}

Fault unpack(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, std::int8_t* digits) {
  if (columns == 0) return {};
  for (std::int64_t r = 0; r < rows; ++r, packed += bytes_in_row(columns), digits += columns) {
    const Fault fault = unpack_row(packed, columns, digits);
    if (fault.kind == Fault::Kind::kCode) return first_bad_code(packed, r, columns);
    if (fault) return {fault.kind, r, bytes_in_row(columns) - 1, fault.value};
  }
  return {};
}

Fault lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, const float* scale, const std::int64_t* indices,
             std::int64_t count, float* rows) {
  std::vector<std::int8_t> digits(static_cast<std::size_t>(columns));
  for (std::int64_t i = 0; i < count; ++i, rows += columns) {
    const std::int64_t index = indices[i];
    if (index < 0 || index >= matrix_rows) return {Fault::Kind::kIndex, i, index, 0};
    const Fault fault = unpack(packed + index * bytes_in_row(columns), 1, columns, digits.data());
    if (fault) return {fault.kind, index, fault.column, fault.value};
    for (std::int64_t k = 0; k < columns; ++k) rows[k] = static_cast<float>(digits[static_cast<std::size_t>(k)]) * scale[index];
  }
  return {};
}

}  // namespace quintet

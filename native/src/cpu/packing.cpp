// Packing and unpacking in portable arithmetic, a block of 8 codes at a time: it begins and ends at a whole byte whatever the bits of a code.
#include "quintet/packing.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#define UNROLL _Pragma("GCC unroll 8")

namespace quintet {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read from and written to memory as they lie there");

using Codes = std::array<std::uint32_t, 8>;

// Rows of one width.
template <int Levels>
struct Rows {
  static constexpr Code kCode = code_of(Levels);
  static constexpr int kDigits = kCode.digits, kBits = kCode.bits, kOffset = kCode.offset();
  static constexpr int kBlock = 8 * kDigits;  // digits of a block, which takes kBits bytes
  static constexpr std::uint32_t kMask = (1U << kBits) - 1, kLimit = kCode.limit();

  // Up to three digits are looked up at once, so that the tables stay small: the lower ones of a code, then the upper ones.
  static constexpr int kLower = std::min(kDigits, 3);
  static constexpr std::uint32_t kLowerCodes = Code{Levels, kLower, 0}.limit();
  static constexpr std::size_t kEntries = kDigits == kLower ? kMask + 1 : std::max(kLowerCodes, kMask / kLowerCodes + 1);

  // The digits of each number below kLowerCodes in the low bytes of a word.
  static constexpr std::array<std::uint32_t, kEntries> kDigitsOf = [] {
    std::array<std::uint32_t, kEntries> table{};
    for (std::uint32_t c = 0; c < kLowerCodes; ++c) {
      for (std::uint32_t i = 0, rest = c; i < kLower; ++i, rest /= Levels) table[c] |= ((rest % Levels - kOffset) & 0xFF) << 8 * i;
    }
    return table;
  }();

  static std::uint32_t encode(const std::int8_t* digits) {
    int code = 0;
    UNROLL for (int i = kDigits - 1; i >= 0; --i) code = code * Levels + digits[i] + kOffset;
    return static_cast<std::uint32_t>(code);
  }

  static void decode(std::uint32_t code, std::int8_t* digits) {
    if constexpr (kDigits == 1) {
      *digits = static_cast<std::int8_t>(static_cast<int>(code) - kOffset);
    } else if constexpr (kDigits == kLower) {
      std::memcpy(digits, &kDigitsOf[code], kLower);
    } else {
      std::memcpy(digits, &kDigitsOf[code % kLowerCodes], kLower);
      std::memcpy(digits + kLower, &kDigitsOf[code / kLowerCodes], kDigits - kLower);
    }
  }

  static void put(const Codes& codes, std::uint8_t* bytes) {
    std::uint64_t word = 0;
    if constexpr (kBits <= 8) {
      UNROLL for (std::size_t i = 0; i < codes.size(); ++i) word |= static_cast<std::uint64_t>(codes[i]) << kBits * i;
      std::memcpy(bytes, &word, kBits);
    } else {
      int held = 0;
      UNROLL for (const std::uint32_t code : codes) {
        word |= static_cast<std::uint64_t>(code) << held;
        for (held += kBits; held >= 8; held -= 8, word >>= 8) *bytes++ = static_cast<std::uint8_t>(word);
      }
    }
  }

  static Codes get(const std::uint8_t* bytes) {
    Codes codes;
    std::uint64_t word = 0;
    if constexpr (kBits <= 8) {
      std::memcpy(&word, bytes, kBits);
      UNROLL for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint32_t>(word >> kBits * i) & kMask;
    } else {
      int held = 0;
      UNROLL for (std::uint32_t& code : codes) {
        for (; held < kBits; held += 8) word |= static_cast<std::uint64_t>(*bytes++) << held;
        code = static_cast<std::uint32_t>(word) & kMask;
        word >>= kBits;
        held -= kBits;
      }
    }
    return codes;
  }

  static bool all_digits(const std::int8_t* row, std::int64_t columns) {
    unsigned bad = 0;
    for (std::int64_t k = 0; k < columns; ++k) bad |= static_cast<std::uint8_t>(row[k] + kOffset) >= Levels;
    return bad == 0;
  }

  static void pack(const std::int8_t* digits, std::int64_t columns, std::uint8_t* packed) {
    Codes codes;
    for (; columns >= kBlock; columns -= kBlock, digits += kBlock, packed += kBits) {
      UNROLL for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = encode(digits + static_cast<int>(i) * kDigits);
      put(codes, packed);
    }
    std::array<std::int8_t, kBlock> tail{};
    std::copy_n(digits, columns, tail.data());
    const auto count = static_cast<std::size_t>(codes_in_row(columns, Levels));
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = i < count ? encode(tail.data() + i * kDigits) : 0;
    std::array<std::uint8_t, kBits> bytes;
    put(codes, bytes.data());
    std::copy_n(bytes.data(), bytes_in_row(columns, Levels), packed);
  }

  // Kind of the first fault: the caller looks for the place.
  static Fault::Kind unpack(const std::uint8_t* packed, std::int64_t columns, std::int8_t* digits) {
    std::uint32_t bad = 0;
    for (; columns >= kBlock; columns -= kBlock, digits += kBlock, packed += kBits) {
      const Codes codes = get(packed);
      UNROLL for (std::size_t i = 0; i < codes.size(); ++i) {
        bad |= codes[i] >= kLimit;
        decode(codes[i], digits + static_cast<int>(i) * kDigits);
      }
    }
    const Fault::Kind kind = unpack_tail(packed, columns, digits);
    return bad ? Fault::Kind::kCode : kind;
  }

  // What is left of a row after its whole blocks: fewer than kBlock digits.
  static Fault::Kind unpack_tail(const std::uint8_t* packed, std::int64_t columns, std::int8_t* digits) {
    std::array<std::uint8_t, kBits> bytes{};
    std::copy_n(packed, bytes_in_row(columns, Levels), bytes.data());
    const Codes codes = get(bytes.data());
    const std::int64_t count = codes_in_row(columns, Levels);
    if (std::any_of(codes.begin() + count, codes.end(), [](std::uint32_t code) { return code != 0; })) return Fault::Kind::kPadding;
    if (std::any_of(codes.begin(), codes.end(), [](std::uint32_t code) { return code >= kLimit; })) return Fault::Kind::kCode;
    std::array<std::int8_t, kBlock> tail;
    for (std::size_t i = 0; i < codes.size(); ++i) decode(codes[i], tail.data() + i * kDigits);
    std::copy_n(tail.data(), columns, digits);
    const bool zero = std::all_of(tail.data() + columns, tail.data() + count * kDigits, [](int w) { return w == 0; });
    return zero ? Fault::Kind::kNone : Fault::Kind::kPadding;
  }
};

// `work` with the `Rows` of a width.
template <class F>
auto with(int levels, F&& work) {
  switch (levels) {
    case 3: return work(Rows<3>{});
    case 4: return work(Rows<4>{});
    case 7: return work(Rows<7>{});
    case 9: return work(Rows<9>{});
    case 15: return work(Rows<15>{});
    case 256: return work(Rows<256>{});
    default: return work(Rows<5>{});
  }
}

Fault first_bad_digit(const std::int8_t* digits, std::int64_t row, std::int64_t columns, int levels) {
  const int lowest = -code_of(levels).offset();
  const std::int8_t* first = std::find_if(digits, digits + columns, [=](int w) { return w < lowest || w >= lowest + levels; });
  return {Fault::Kind::kDigit, row, first - digits, *first};
}

// Looks again at a row that holds a number that is no code, for the first one's place: its first byte in the row.
Fault first_bad_code(const std::uint8_t* packed, std::int64_t row, std::int64_t columns, int levels) {
  const Code code = code_of(levels);
  for (std::int64_t i = 0; i < codes_in_row(columns, levels); ++i) {
    int value = 0;
    for (int b = code.bits - 1; b >= 0; --b) value = value << 1 | (packed[(i * code.bits + b) / 8] >> (i * code.bits + b) % 8 & 1);
    if (value >= code.limit()) return {Fault::Kind::kCode, row, i * code.bits / 8, value};
  }
  return {};
}

}  // namespace

Fault pack(const std::int8_t* digits, std::int64_t rows, std::int64_t columns, int levels, std::uint8_t* packed) {
  if (columns == 0) return {};
  return with(levels, [=](auto width) mutable -> Fault {
    for (std::int64_t r = 0; r < rows; ++r, digits += columns, packed += bytes_in_row(columns, levels)) {
      if (!width.all_digits(digits, columns)) return first_bad_digit(digits, r, columns, levels);
      width.pack(digits, columns, packed);
    }
    return {};
  });
}

Fault unpack(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, int levels, std::int8_t* digits) {
  if (columns == 0) return {};
  const std::int64_t bytes = bytes_in_row(columns, levels);
  return with(levels, [=](auto width) mutable -> Fault {
    for (std::int64_t r = 0; r < rows; ++r, packed += bytes, digits += columns) {
      const Fault::Kind kind = width.unpack(packed, columns, digits);
      if (kind == Fault::Kind::kCode) return first_bad_code(packed, r, columns, levels);
      if (kind == Fault::Kind::kPadding) return {kind, r, bytes - 1, packed[bytes - 1]};
    }
    return {};
  });
}

Fault lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, int levels, const float* scale, std::int64_t groups,
             const std::int64_t* indices, std::int64_t count, float* rows) {
  std::vector<std::int8_t> digits(static_cast<std::size_t>(columns));
  const std::int64_t length = columns / groups;
  for (std::int64_t i = 0; i < count; ++i, rows += columns) {
    const std::int64_t index = indices[i];
    if (index < 0 || index >= matrix_rows) return {Fault::Kind::kIndex, i, index, 0};
    const Fault fault = unpack(packed + index * bytes_in_row(columns, levels), 1, columns, levels, digits.data());
    if (fault) return {fault.kind, index, fault.column, fault.value};
    for (std::int64_t g = 0; g < groups; ++g) {
      const float factor = scale[index * groups + g];
      for (std::int64_t k = g * length; k < (g + 1) * length; ++k) rows[k] = static_cast<float>(digits[static_cast<std::size_t>(k)]) * factor;
    }
  }
  return {};
}

}  // namespace quintet

// How an input of the fuzz target is read: six bytes of sizes, then the packed matrix. What is missing is 0; what is left over does not count.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "quintet/packing.hpp"

namespace fuzz {

constexpr std::size_t kHeader = 6;
constexpr std::int64_t kMaxRows = 145;  // more than a block of tiles
constexpr std::int64_t kMaxColumns = 600;
constexpr std::int64_t kMaxTokens = 5;
constexpr std::int64_t kMaxGroups = 4;

// A claim about a matrix: byte 0 chooses the levels, byte 1 the rows, bytes 2 and 3 (the lower first) the columns, byte 4 the tokens, byte 5
// the groups of columns with scales of their own.
struct Input {
  Input(const std::uint8_t* data, std::size_t size) {
    std::uint8_t header[kHeader] = {};
    std::copy_n(data, std::min(size, kHeader), header);
    levels = quintet::kWidths[header[0] % quintet::kWidths.size()].levels;
    rows = header[1] % kMaxRows;
    columns = (header[2] + 256 * header[3]) % kMaxColumns;
    tokens = header[4] % kMaxTokens;
    groups = 1 + header[5] % kMaxGroups;
    if (columns % groups != 0) groups = 1;
    packed.resize(static_cast<std::size_t>(rows * quintet::bytes_in_row(columns, levels)));
    if (size > kHeader) std::copy_n(data + kHeader, std::min(size - kHeader, packed.size()), packed.begin());
  }

  int levels;
  std::int64_t rows, columns, tokens, groups;
  std::vector<std::uint8_t> packed;  // exactly as long as the matrix, so that a sanitizer sees a step beyond it
};

}  // namespace fuzz

// `make_corpus FOLDER` writes the inputs that fuzzing starts from: for each number of levels a whole matrix, one with a row that is no code or
// has bits beyond its last column, and a cut one.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "../tests/check.hpp"
#include "input.hpp"

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t kRows = 3, kColumns = 28, kTokens = 2, kGroups = 4;

void write(const fs::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  for (const std::uint8_t byte : bytes) file.put(static_cast<char>(byte));
}

Bytes whole(std::size_t width) {
  const int levels = quintet::kWidths[width].levels;
  std::vector<std::int8_t> digits(kRows * kColumns);
  for (auto& w : digits) w = static_cast<std::int8_t>(check::random(levels) - levels / 2);
  Bytes packed(static_cast<std::size_t>(kRows * quintet::bytes_in_row(kColumns, levels)));
  quintet::pack(digits.data(), kRows, kColumns, levels, packed.data());
  Bytes input{static_cast<std::uint8_t>(width), kRows, kColumns, 0, kTokens, kGroups - 1};
  input.insert(input.end(), packed.begin(), packed.end());
  return input;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: make_corpus FOLDER\n");
    return 2;
  }
  const fs::path folder = arguments[1];
  fs::create_directories(folder);
  for (std::size_t width = 0; width < quintet::kWidths.size(); ++width) {
    const std::string name = std::to_string(quintet::kWidths[width].levels) + "-levels";
    Bytes input = whole(width);
    write(folder / (name + "-whole"), input);
    write(folder / (name + "-cut"), Bytes(input.begin(), input.end() - 9));
    input.back() = 0xFF;
    write(folder / (name + "-damaged"), input);
  }
}

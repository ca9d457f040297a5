// Stands in for libFuzzer where the compiler has none: `fuzz_packed FOLDER COUNT` replays the files of a folder in the order of their names,
// then COUNT mutations of them. They are the same in every run, so that a failure can be had again under a debugger.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "../tests/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<char>;

Bytes read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

std::vector<Bytes> corpus(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> inputs;
  for (const auto& path : paths) inputs.push_back(read(path));
  return inputs;
}

std::size_t below(std::size_t bound) { return static_cast<std::size_t>(check::random(static_cast<int>(bound))); }

// One change: a flipped bit, another byte, an end cut off, bytes put in, or the end of another input.
Bytes mutated(Bytes input, const std::vector<Bytes>& inputs) {
  const std::size_t at = below(input.size() + 1);
  const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
  switch (below(5)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ 1 << below(8));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(below(256));
      break;
    case 2: input.resize(at); break;
    case 3: input.insert(place, below(64), static_cast<char>(below(256))); break;
    case 4: {
      const Bytes& other = inputs[below(inputs.size())];
      input.resize(at);
      input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(std::min(at, other.size())), other.end());
    }
  }
  return input;
}

void run(const Bytes& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: fuzz_packed FOLDER COUNT\n");
    return 2;
  }
  const std::vector<Bytes> inputs = corpus(arguments[1]);
  check::expect(!inputs.empty(), "the folder holds inputs");
  for (const Bytes& input : inputs) run(input);
  const int mutations = std::stoi(arguments[2]);
  for (int i = 0; i < mutations; ++i) {
    Bytes input = inputs[below(inputs.size())];
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) input = mutated(std::move(input), inputs);
    run(input);
  }
  std::printf("%zu inputs, %d mutations\n", inputs.size(), mutations);
  return check::report();
}

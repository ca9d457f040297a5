// What a launch consists of while the emulator runs it.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device.cuh"

namespace quintet::cuda::emulator {

constexpr std::size_t kStack = 256 << 10;

// Some threads meet: the last to arrive moves the generation on, which is what the others wait for.
struct Meeting {
  unsigned expected = 0, arrived = 0;
  int line = 0;
  std::uint64_t generation = 0;

  void open_if_complete() {
    if (arrived == 0 || arrived < expected) return;
    arrived = 0;
    ++generation;
  }
};

// The lanes of one mask. Two sets of slots in turn: a lane may bring the next value while others still read the last.
struct Group {
  explicit Group(unsigned mask_) : mask(mask_) {}
  unsigned mask;
  Operation operation = Operation::kSync;
  Meeting meeting;
  Slot slots[2][32];
};

struct Warp {
  unsigned live = 0;
  std::deque<Group> groups;

  Group& group(unsigned mask) {
    for (Group& each : groups) {
      if (each.mask == mask) return each;
    }
    return groups.emplace_back(mask);
  }
};

struct Block {
  dim3 index;
  Meeting barrier;
  std::vector<Warp> warps;
  std::unique_ptr<unsigned char[]> shared;
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};

struct Fiber {
  Block* block = nullptr;
  unsigned number = 0;  // in the block
  dim3 index;
  ucontext_t context{};
  void* stack = nullptr;
  void* sanitizer = nullptr;
  const Meeting* meeting = nullptr;  // what it waits for
  std::uint64_t awaited = 0;
  const char* where = "";
  int line = 0;
  std::vector<Copy> started;
  std::deque<std::vector<Copy>> groups;
  bool done = false;
};

// A launch, or one block of it.
struct Machine {
  const std::function<void()>* body = nullptr;
  bool cooperative = false;
  dim3 block_size, grid_size;
  std::deque<Block> blocks;
  std::deque<Fiber> fibers;
  Meeting grid;
  ucontext_t scheduler{};  // zeros: AddressSanitizer clears the shadow of whatever stack it names
  const void* stack_bottom = nullptr;
  std::size_t stack_size = 0;
  void* sanitizer = nullptr;
  Fiber* current = nullptr;
  std::string failure;
};

}  // namespace quintet::cuda::emulator

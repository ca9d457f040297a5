// The scheduler: fibers by ucontext on one system thread, barriers that count who arrived, and the checks that a GPU does not make.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "machine.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace quintet::cuda::emulator {
namespace {

Machine* machine = nullptr;

std::string text_of(dim3 i) { return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")"; }

void enter([[maybe_unused]] Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&machine->sanitizer, fiber.stack, kStack);
#endif
  swapcontext(&machine->scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(machine->sanitizer, nullptr, nullptr);
#endif
}

void leave(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.sanitizer, machine->stack_bottom, machine->stack_size);
#endif
  swapcontext(&fiber.context, &machine->scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.sanitizer, &machine->stack_bottom, &machine->stack_size);
#endif
}

void thread_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &machine->stack_bottom, &machine->stack_size);
#endif
  (*machine->body)();
  Fiber& fiber = *machine->current;
  fiber.done = true;
  --fiber.block->barrier.expected;
  fiber.block->barrier.open_if_complete();
  Warp& warp = fiber.block->warps[fiber.number / 32];
  warp.live &= ~(1U << fiber.number % 32);
  for (Group& group : warp.groups) {
    if (group.mask >> fiber.number % 32 & 1) --group.meeting.expected;
    group.meeting.open_if_complete();
  }
  leave(fiber);
}

void meet(Meeting& meeting, const char* where, int line = 0) {
  Fiber& fiber = *machine->current;
  const std::uint64_t before = meeting.generation;
  ++meeting.arrived;
  meeting.open_if_complete();
  if (meeting.generation != before) return;
  fiber.meeting = &meeting;
  fiber.awaited = before;
  fiber.where = where;
  fiber.line = line;
  leave(fiber);
}

Block& add_block(dim3 index, std::size_t shared_bytes) {
  const unsigned threads = machine->block_size.x * machine->block_size.y * machine->block_size.z;
  Block& block = machine->blocks.emplace_back();
  block.index = index;
  block.barrier.expected = threads;
  block.warps.resize((threads + 31) / 32);
  block.shared.reset(new unsigned char[shared_bytes]);
  std::fill_n(block.shared.get(), shared_bytes, static_cast<unsigned char>(0xFF));
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = machine->fibers.emplace_back();
    fiber.block = &block;
    fiber.number = i;
    fiber.index = {i % machine->block_size.x, i / machine->block_size.x % machine->block_size.y,
                   i / machine->block_size.x / machine->block_size.y};
    block.warps[i / 32].live |= 1U << i % 32;
  }
  return block;
}

// Stacks are kept from launch to launch.
void* stack_number(std::size_t i) {
  static std::vector<void*> stacks;
  while (stacks.size() <= i) {
    stacks.push_back(mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks.back() == MAP_FAILED) throw std::bad_alloc();
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stacks[i], kStack);
#endif
  return stacks[i];
}

void prepare(Fiber& fiber, std::size_t number) {
  fiber.stack = stack_number(number);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, thread_main, 0);
}

bool ready(const Fiber& fiber) { return !fiber.done && (fiber.meeting == nullptr || fiber.meeting->generation != fiber.awaited); }

void step(Fiber& fiber) {
  fiber.meeting = nullptr;
  machine->current = &fiber;
  threadIdx = fiber.index;
  blockIdx = fiber.block->index;
  enter(fiber);
  if (!machine->failure.empty()) {
    throw Failure("block " + text_of(fiber.block->index) + ", thread " + text_of(fiber.index) + ": " + machine->failure);
  }
}

[[noreturn]] void throw_deadlock() {
  for (const Fiber& fiber : machine->fibers) {
    if (fiber.done) continue;
    throw Failure("block " + text_of(fiber.block->index) + ", thread " + text_of(fiber.index) + " waits for ever " + fiber.where +
                  (fiber.line > 0 ? " in line " + std::to_string(fiber.line) : ""));
  }
  throw Failure("nothing to wait for");
}

void run_fibers() {
  const std::size_t count = machine->fibers.size();
  for (std::size_t i = 0; i < count; ++i) prepare(machine->fibers[i], i);
  for (std::size_t left = count; left > 0;) {
    bool progress = false;
    for (std::size_t i = 0; i < count; ++i) {
      Fiber& fiber = machine->fibers[backward ? count - 1 - i : i];
      if (!ready(fiber)) continue;
      step(fiber);
      progress = true;
      if (fiber.done) --left;
    }
    if (!progress) throw_deadlock();
  }
}

struct Running {
  explicit Running(Machine& each) { machine = &each; }
  ~Running() { machine = nullptr; }
};

}  // namespace

void run(const std::function<void()>& body, dim3 grid, dim3 block, std::size_t shared_bytes, bool cooperative) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z, count = std::size_t{grid.x} * grid.y * grid.z;
  if (threads == 0 || threads > 1024) throw Failure("a block has 1 to 1024 threads, not " + std::to_string(threads));
  if (shared_bytes > static_cast<std::size_t>(shared_limit)) throw Failure("shared memory of " + std::to_string(shared_bytes) + " bytes");
  if (cooperative && count > static_cast<std::size_t>(blocks_at_once)) throw Failure("more blocks than a cooperative launch may have");
  blockDim = block;
  gridDim = grid;
  Machine one;
  const Running running(one);
  one.body = &body;
  one.cooperative = cooperative;
  one.block_size = block;
  one.grid_size = grid;
  one.grid.expected = static_cast<unsigned>(threads * count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = static_cast<unsigned>(backward ? count - 1 - i : i);
    add_block({number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y}, shared_bytes);
    if (cooperative) continue;
    run_fibers();
    one.fibers.clear();
    one.blocks.clear();
  }
  if (cooperative) run_fibers();
}

unsigned char* shared_memory() { return machine->current->block->shared.get(); }

int lane() { return static_cast<int>(machine->current->number % 32); }

void fail(const char* what, int a, int b) {
  char text[200];  // nothing on the heap: an abandoned fiber frees nothing
  std::snprintf(text, sizeof text, what, a, b);
  machine->failure = text;
  while (true) leave(*machine->current);
}

void block_barrier(int line) {
  Meeting& barrier = machine->current->block->barrier;
  if (barrier.arrived > 0 && barrier.line != line) {
    fail("__syncthreads() in line %d meets another in line %d", line, barrier.line);
  }
  barrier.line = line;
  meet(barrier, "at __syncthreads()", line);
}

void grid_barrier() {
  if (!machine->cooperative) fail("grid_sync() in a launch that is not cooperative");
  meet(machine->grid, "at grid_sync()");
}

const Slot* exchange(Operation operation, unsigned mask, const void* value, std::size_t size) {
  const Fiber& fiber = *machine->current;
  Warp& warp = fiber.block->warps[fiber.number / 32];
  const unsigned place = fiber.number % 32;
  if ((mask >> place & 1) == 0) fail("a lane meets others whose mask does not name it");
  Group& group = warp.group(mask);
  if (group.meeting.arrived > 0 && group.operation != operation) fail("lanes of a warp meet in different operations");
  group.operation = operation;
  group.meeting.expected = static_cast<unsigned>(__builtin_popcount(mask & warp.live));
  Slot* slots = group.slots[group.meeting.generation & 1];
  if (group.meeting.arrived == 0) std::fill_n(slots, 32, Slot{});
  if (size > 0) std::memcpy(slots[place].data(), value, size);
  meet(group.meeting, "for lanes of its warp");
  return slots;
}

void start_copy(void* to, const void* from, int bytes) {
  machine->current->started.push_back({to, from, static_cast<std::size_t>(bytes)});
}

void commit_copies() {
  Fiber& fiber = *machine->current;
  fiber.groups.push_back(std::move(fiber.started));
  fiber.started.clear();
}

void wait_for_copies(std::size_t pending) {
  Fiber& fiber = *machine->current;
  for (; fiber.groups.size() > pending; fiber.groups.pop_front()) {
    for (const Copy& copy : fiber.groups.front()) {
      std::memset(copy.to, 0, 16);
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
    }
  }
}

}  // namespace quintet::cuda::emulator

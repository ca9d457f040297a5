// Every item exactly once, whoever calls and however often; exceptions come back.
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "quintet/pool.hpp"

namespace {

void check_every_item_once(int threads, std::int64_t items) {
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(items));
  quintet::parallel(threads, items, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
  });
  for (const auto& count : seen) check::expect(count == 1, "each item once", threads, items);
}

void check_exceptions() {
  for (int threads : {1, 3}) {
    bool caught = false;
    try {
      quintet::parallel(threads, 100, [](std::int64_t, std::int64_t end) {
        if (end == 100) throw std::runtime_error("the last part");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    check::expect(caught, "an exception of a part comes back", threads);
    check_every_item_once(threads, 10);
  }
}

}  // namespace

int main() {
  for (int threads : {1, 2, 3, 7, 2}) {
    for (std::int64_t items : {0, 1, 2, 3, 100}) check_every_item_once(threads, items);
  }
  check_exceptions();
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([] {
      for (int repeat = 0; repeat < 200; ++repeat) check_every_item_once(3, 10);
    });
  }
  for (auto& caller : callers) caller.join();
  return check::report();
}

#include "quintet/pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quintet {
namespace {

using Body = std::function<void(std::int64_t, std::int64_t)>;

// How long a thread looks for news before it sleeps or yields: about 20 microseconds, the length of a small product.
constexpr int kSpins = 1000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

struct Job {
  const Body* body = nullptr;
  std::int64_t items = 0;
  int parts = 0;

  void part(int index) const {
    const std::int64_t begin = items * index / parts, end = items * (index + 1) / parts;
    if (begin < end) (*body)(begin, end);
  }
};

// Worker i does part i + 1 of each job; jobs are numbered, and a worker sleeps until the number changes.
class Pool {
 public:
  void run(const Job& job) {
    while (static_cast<int>(workers_.size()) < job.parts - 1) start();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      failure_ = nullptr;
      left_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
      number_.fetch_add(1, std::memory_order_release);
    }
    news_.notify_all();
    attempt(0);
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) spins < kSpins ? pause() : static_cast<void>(sched_yield());
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void start() {
    const int index = static_cast<int>(workers_.size()) + 1;
    workers_.emplace_back([this, index, seen = number_.load()] { work(index, seen); }).detach();
  }

  void work(int index, std::uint64_t seen) {
    for (;; ++seen) {
      for (int spins = 0; spins < kSpins && number_.load(std::memory_order_acquire) == seen; ++spins) pause();
      if (number_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        news_.wait(lock, [&] { return number_.load(std::memory_order_relaxed) != seen; });
      }
      if (index < job_.parts) attempt(index);
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  void attempt(int index) {
    try {
      job_.part(index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::atomic<std::uint64_t> number_{0};
  std::atomic<int> left_{0};
  Job job_;
  std::exception_ptr failure_;
};

std::atomic<bool> taken{false};

// Never destroyed: its threads run until the process ends. A forked child has none of them, so it gets a pool of its own.
Pool* pool = new Pool;

void forget_after_fork() {
  pool = new Pool;
  taken.store(false);
}

const int registered = pthread_atfork(nullptr, nullptr, forget_after_fork);

}  // namespace

void parallel(int threads, std::int64_t items, const Body& body) {
  static_cast<void>(registered);
  const int parts = static_cast<int>(std::min<std::int64_t>(threads, items));
  if (parts <= 1 || taken.exchange(true, std::memory_order_acquire)) {
    if (items > 0) body(0, items);
    return;
  }
  struct Release {
    ~Release() { taken.store(false, std::memory_order_release); }
  } release;
  pool->run({&body, items, parts});
}

}  // namespace quintet

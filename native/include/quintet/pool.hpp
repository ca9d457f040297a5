// Threads that stay: a loop over independent items, cut into one contiguous part a thread.
#pragma once

#include <cstdint>
#include <functional>

namespace quintet {

// Calls body(begin, end) for parts that together cover 0..items, on at most `threads` threads (this one is the first), and returns when all
// are done; an exception of a part is thrown again here. Work must not depend on how it is cut. Callable from several threads and after a
// fork: whoever finds the pool taken does all the work itself.
void parallel(int threads, std::int64_t items, const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace quintet

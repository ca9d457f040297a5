// The CUDA devices of this machine, and which of them the calling thread's next calls go to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quintet/cuda/status.hpp"

namespace quintet::cuda {

struct Device {
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  std::int64_t memory;  // bytes
};

// Empty where there is no device or no driver.
std::vector<Device> devices();

// While it lives, this thread's calls go to device `ordinal`; afterwards to the one before.
class On {
 public:
  explicit On(int ordinal);
  ~On();
  On(const On&) = delete;
  On& operator=(const On&) = delete;

  const Status& status() const { return status_; }

 private:
  int before_ = -1;
  Status status_;
};

}  // namespace quintet::cuda

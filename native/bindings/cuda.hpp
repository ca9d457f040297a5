// What the CUDA bindings share: a function takes a device's ordinal and a stream's handle before its tensors, all of which are there.
#pragma once

#include "quintet/cuda/devices.hpp"
#include "tensor.hpp"

namespace quintet {

// Raises RuntimeError with CUDA's own words.
inline void require_ok(const cuda::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.text());
}

// Where a call works: `work(stream)` runs on its device, without the GIL.
struct Place {
  int ordinal;
  std::uintptr_t stream;

  dlpack::Device device() const { return on_cuda(ordinal); }

  template <class F>
  void run(F&& work) const {
    cuda::Status status;
    {
      const py::gil_scoped_release release;
      const cuda::On on(ordinal);
      status = on.status().ok() ? work(reinterpret_cast<void*>(stream)) : on.status();
    }
    require_ok(status);
  }
};

}  // namespace quintet

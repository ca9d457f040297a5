#include "quintet/cuda/devices.hpp"

#include "device.cuh"

namespace quintet::cuda {

std::vector<Device> devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();  // no driver is no error of the next call
    return {};
  }
  std::vector<Device> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    found.push_back({properties.name, properties.major, properties.minor, properties.multiProcessorCount,
                     static_cast<std::int64_t>(properties.totalGlobalMem)});
  }
  return found;
}

On::On(int ordinal) {
  status_ = status_of(cudaGetDevice(&before_));
  if (status_.ok()) status_ = status_of(cudaSetDevice(ordinal));
}

On::~On() {
  if (before_ >= 0) (void)cudaSetDevice(before_);
}

}  // namespace quintet::cuda

// Two-dimensional convolution with a matrix of weights in tiles: the linear operation on every window of an image.
#pragma once

#include <array>
#include <cstdint>

#include "quintet/linear.hpp"

namespace quintet {

// Images x[batch, channels, height, width] and how a window of kernel[0] x kernel[1] pixels goes over them (the vertical first); `padding` zeros
// are put around an image. Output (i, j) sees pixels stride * (i, j) - padding + dilation * (0..kernel - 1).
struct Windows {
  std::int64_t batch, channels;
  std::array<std::int64_t, 2> size, kernel, stride, padding, dilation;

  constexpr std::int64_t padded(std::size_t axis) const { return size[axis] + 2 * padding[axis]; }
  constexpr std::int64_t extent(std::size_t axis) const { return dilation[axis] * (kernel[axis] - 1) + 1; }
  constexpr std::int64_t output(std::size_t axis) const { return (padded(axis) - extent(axis)) / stride[axis] + 1; }
  constexpr std::int64_t columns() const { return channels * kernel[0] * kernel[1]; }
};

// The largest side of an image, with padding.
constexpr std::int64_t kMaxSide = std::int64_t{1} << 20;

// y[batch, output(0), output(1), rows], where column (c, a, b) of the weights meets pixel (a, b) of a window in channel c. With int8 activations
// each image has one scale s = max|x| / 127, and a window's sums become results as a token's do in `multiply`. Kernel, stride and dilation are
// at least 1, and an output has at least one element. The result does not depend on `threads`.
template <class T>
void convolve(const Linear& linear, const Windows& windows, const T* x, Activations activations, int threads, T* y);

extern template void convolve(const Linear&, const Windows&, const float*, Activations, int, float*);
extern template void convolve(const Linear&, const Windows&, const Bfloat16*, Activations, int, Bfloat16*);

}  // namespace quintet

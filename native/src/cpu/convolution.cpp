// Convolution: images are padded (and rounded) once, then each thread takes runs of windows, unfolds them into tokens and multiplies these.
#include "quintet/convolution.hpp"

#include <vector>

#include "blocks.hpp"
#include "quintet/pool.hpp"

namespace quintet {
namespace {

// Where the columns of a window lie in a padded image, counted from the window's first pixel.
std::vector<std::int32_t> offsets_of(const Windows& w) {
  std::vector<std::int32_t> offsets;
  offsets.reserve(static_cast<std::size_t>(w.columns()));
  for (std::int64_t c = 0; c < w.channels; ++c) {
    for (std::int64_t a = 0; a < w.kernel[0]; ++a) {
      for (std::int64_t b = 0; b < w.kernel[1]; ++b) {
        offsets.push_back(static_cast<std::int32_t>((c * w.padded(0) + a * w.dilation[0]) * w.padded(1) + b * w.dilation[1]));
      }
    }
  }
  return offsets;
}

// All images with zeros around them, as the kernels take activations, and the scale of each.
template <class X>
struct Images {
  explicit Images(const Windows& w) : windows(w), size(w.channels * w.padded(0) * w.padded(1)), pixels(w.batch * size), scales(w.batch) {}

  X* image(std::int64_t i) const { return pixels.get() + i * size; }
  X* line(std::int64_t i, std::int64_t channel, std::int64_t y) const {
    return image(i) + (channel * windows.padded(0) + y + windows.padding[0]) * windows.padded(1) + windows.padding[1];
  }

  const Windows& windows;
  std::int64_t size;
  Buffer<X> pixels;
  Buffer<float> scales;
};

void write_line(const float* x, std::int64_t count, float, float* line) { std::copy_n(x, count, line); }

void write_line(const float* x, std::int64_t count, float peak, std::int8_t* line) { kernels().round(x, count, peak, line); }

template <class X, class T>
void prepare_image(const T* x, std::int64_t i, const Images<X>& images) {
  const Windows& w = images.windows;
  const std::int64_t lines = w.channels * w.size[0], width = w.size[1];
  const Buffer<float> space(lines * width);
  const float* values = as_floats(x + i * lines * width, lines * width, space.get());
  const float peak = std::is_same_v<X, float> ? 0 : kernels().peak(values, lines * width);
  images.scales.get()[i] = peak / 127.0F;
  std::fill_n(images.image(i), images.size, X{0});
  for (std::int64_t line = 0; line < lines; ++line) {
    write_line(values + line * width, width, peak, images.line(i, line / w.size[0], line % w.size[0]));
  }
}

// The window that begins at `pixels`, as token t.
template <class X>
void unfold(const X* pixels, const std::int32_t* offsets, float scale, std::int64_t t, const Prepared<X>& out) {
  for (std::int64_t g = 0; g < out.groups.count; ++g, offsets += out.groups.length) {
    X* row = out.framed(t, g);
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < out.groups.length; ++k) {
      const X value = pixels[offsets[k]];
      row[k] = value;
      if constexpr (std::is_same_v<X, std::int8_t>) sum += value;
    }
    out.token(t, g) = {scale, sum};
  }
}

template <class X, class T>
void run(const Linear& linear, const Windows& w, const T* x, int threads, T* y) {
  const Images<X> images(w);
  const std::int64_t outputs = w.output(0) * w.output(1), rows = linear.weights.rows;
  const int workers = useful(threads, w.batch * outputs * rows * w.columns());
  parallel(workers, w.batch, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) prepare_image(x, i, images);
  });
  const std::vector<std::int32_t> offsets = offsets_of(w);
  const std::int64_t length = std::min(kPanelTokens, divide_up(w.batch * outputs, workers)), runs = divide_up(outputs, length);
  parallel(workers, w.batch * runs, [&](std::int64_t begin, std::int64_t end) {
    const Prepared<X> tokens(length, Groups(linear));
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t i = item / runs, first = item % runs * length, count = std::min(length, outputs - first);
      for (std::int64_t t = 0; t < count; ++t) {
        const std::int64_t top = (first + t) / w.output(1) * w.stride[0], left = (first + t) % w.output(1) * w.stride[1];
        unfold(images.image(i) + top * w.padded(1) + left, offsets.data(), images.scales.get()[i], t, tokens);
      }
      for (std::int64_t block = 0; block < blocks(rows); ++block) {
        multiply_block(linear, block, tokens, count, y + (i * outputs + first) * rows);
      }
    }
  });
}

}  // namespace

template <class T>
void convolve(const Linear& linear, const Windows& windows, const T* x, Activations activations, int threads, T* y) {
  if (windows.batch == 0 || linear.weights.rows == 0) return;
  if (activations == Activations::kInt8) {
    run<std::int8_t>(linear, windows, x, threads, y);
  } else {
    run<float>(linear, windows, x, threads, y);
  }
}

template void convolve(const Linear&, const Windows&, const float*, Activations, int, float*);
template void convolve(const Linear&, const Windows&, const Bfloat16*, Activations, int, Bfloat16*);

}  // namespace quintet

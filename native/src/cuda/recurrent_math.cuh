// Activations and dropout's masks of the recurrent run, one number at a time; twins of src/cpu/activation.hpp and src/cpu/philox.hpp.
#pragma once

#include "device.cuh"
#include "quintet/recurrent.hpp"

namespace quintet::cuda {

__device__ inline float logistic(float x) { return 1.0F / (1.0F + expf(-x)); }

// The normal distribution, accurate far out on the left too.
__device__ inline float normal(float x) { return 0.5F * erfcf(x * -0.70710678F); }

// NaN stays NaN.
__device__ inline float activate(Activation f, float x) {
  switch (f) {
    case Activation::kRelu: return x < 0.0F ? 0.0F : x;
    case Activation::kLeakyRelu: return x < 0.0F ? 0.01F * x : x;
    case Activation::kElu: return x < 0.0F ? expm1f(x) : x;
    case Activation::kTanh: return tanhf(x);
    case Activation::kSigmoid: return logistic(x);
    case Activation::kGelu: return x * normal(x);
    case Activation::kSilu: return x * logistic(x);
    default: return x;
  }
}

// The derivative at y = activate(f, x), or at y = x for those whose value does not tell it (`needs_sums`).
__device__ inline float slope(Activation f, float y) {
  switch (f) {
    case Activation::kRelu: return y > 0.0F ? 1.0F : 0.0F;
    case Activation::kLeakyRelu: return y > 0.0F ? 1.0F : 0.01F;
    case Activation::kElu: return y > 0.0F ? 1.0F : y + 1.0F;
    case Activation::kTanh: return fmaf(-y, y, 1.0F);
    case Activation::kSigmoid: return y * (1.0F - y);
    case Activation::kGelu: return fmaf(y * 0.39894228F, expf(-0.5F * y * y), normal(y));
    case Activation::kSilu: {
      const float s = logistic(y);
      return s * fmaf(y, 1.0F - s, 1.0F);
    }
    default: return 1.0F;
  }
}

struct Dropout {
  std::uint32_t threshold;  // probability times 2^32
  std::uint64_t seed;
  float scale, unscale;  // of what is kept: 1 / (1 - probability), and its inverse
};

// Word (column % 64) / 16 of Philox4x32-10 for the counter (column / 64 * 16 + column % 16, row, step, 0) under the key `seed`.
__device__ inline std::uint32_t random_word(std::uint32_t column, std::uint32_t row, std::uint32_t step, std::uint64_t seed) {
  std::uint32_t c0 = column / 64 * 16 + column % 16, c1 = row, c2 = step, c3 = 0;
  auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * c0, second = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(second >> 32) ^ c1 ^ key0;
    c2 = static_cast<std::uint32_t>(first >> 32) ^ c3 ^ key1;
    c1 = static_cast<std::uint32_t>(second);
    c3 = static_cast<std::uint32_t>(first);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  const std::uint32_t word = column % 64 / 16;
  return word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
}

__device__ inline bool keeps(const Dropout& dropout, int column, int row, int step) {
  return dropout.threshold == 0 || random_word(static_cast<std::uint32_t>(column), static_cast<std::uint32_t>(row),
                                               static_cast<std::uint32_t>(step), dropout.seed) >= dropout.threshold;
}

}  // namespace quintet::cuda

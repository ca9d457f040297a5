// 16 lanes in an array: what the other two forms compute, said in plain C++. See vector.hpp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace quintet::QUINTET_NAMESPACE {

constexpr int kPanelVectors = 1;

struct F16 {
  float v[16];
  F16() = default;
  explicit F16(float x) {
    for (float& lane : v) lane = x;
  }
};

using Lanes = std::uint16_t;

template <class Function>
inline F16 each(Function f) {
  F16 y;
  for (int i = 0; i < 16; ++i) y.v[i] = f(i);
  return y;
}

inline F16 load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline void store(float* p, F16 a) { std::memcpy(p, a.v, sizeof a.v); }
inline void stream(float* p, F16 a) { store(p, a); }
inline void fence() {}
inline F16 operator+(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline F16 operator-(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline F16 operator*(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline F16 operator/(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
inline F16 fma(F16 a, F16 b, F16 c) {
  return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline F16 square_root(F16 a) {
  return each([&](int i) { return std::sqrt(a.v[i]); });
}
// Like the instructions: the second where they do not compare (NaN).
inline F16 min(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F16 max(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Lanes greater(F16 a, F16 b) {
  unsigned lanes = 0;
  for (int i = 0; i < 16; ++i) lanes |= static_cast<unsigned>(a.v[i] > b.v[i]) << i;
  return static_cast<Lanes>(lanes);
}
inline F16 select(Lanes lanes, F16 yes, F16 no) {
  return each([&](int i) { return lanes >> i & 1 ? yes.v[i] : no.v[i]; });
}

inline F16 times_power(F16 x, F16 shifted) {
  return each([&](int i) {
    std::uint32_t a, n;
    std::memcpy(&a, &x.v[i], 4);
    std::memcpy(&n, &shifted.v[i], 4);
    a += n << 23;
    float y;
    std::memcpy(&y, &a, 4);
    return y;
  });
}

inline float sum(F16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}

struct U16 {
  std::uint32_t v[16];
};

inline U16 counting(std::uint32_t first) {
  U16 y;
  for (std::uint32_t i = 0; i < 16; ++i) y.v[i] = first + i;
  return y;
}
inline U16 all(std::uint32_t x) {
  U16 y;
  for (std::uint32_t& lane : y.v) lane = x;
  return y;
}
inline U16 operator^(U16 a, U16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] ^= b.v[i];
  return a;
}
inline Lanes at_least(U16 a, std::uint32_t limit) {
  unsigned lanes = 0;
  for (int i = 0; i < 16; ++i) lanes |= static_cast<unsigned>(a.v[i] >= limit) << i;
  return static_cast<Lanes>(lanes);
}
inline void multiply(U16 a, std::uint32_t factor, U16& low, U16& high) {
  for (int i = 0; i < 16; ++i) {
    const std::uint64_t product = std::uint64_t{a.v[i]} * factor;
    low.v[i] = static_cast<std::uint32_t>(product);
    high.v[i] = static_cast<std::uint32_t>(product >> 32);
  }
}

}  // namespace quintet::QUINTET_NAMESPACE

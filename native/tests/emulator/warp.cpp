// What lanes of a warp compute together, and the arithmetic of single instructions.
#include "device.cuh"

namespace {

namespace emulator = quintet::cuda::emulator;
using emulator::from_slot;
using emulator::Slot;

constexpr unsigned kAll = ~0U;

int byte_of(unsigned word, int i) { return static_cast<std::int8_t>(word >> 8 * i & 0xFF); }

struct Operands {
  unsigned a[4], b[2];
};

const Slot* exchange(const unsigned (&a)[4], const unsigned (&b)[2]) {
  Operands mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  return emulator::exchange(emulator::Operation::kMatrixProduct, kAll, &mine, sizeof mine);
}

// Where the fragments lie, after the PTX ISA: element (row, k) of A [16, 4 P], as its k-th part of a register holding `Each` elements; P = 2 Each.
// A's register of a row and column is (row / 8) + 2 (k / (4 Each)); B's of a row k is k / (4 Each); both in lane 4 (row or column % 8) + k / Each % 4.
template <int Each>
unsigned register_of_a(const Slot* slots, int row, int k) {
  return from_slot<Operands>(slots[4 * (row % 8) + k / Each % 4]).a[row / 8 + 2 * (k / (4 * Each))];
}

template <int Each>
unsigned register_of_b(const Slot* slots, int k, int column) {
  return from_slot<Operands>(slots[4 * column + k / Each % 4]).b[k / (4 * Each)];
}

// d[i] += sum over k of term(row, k, column), for the four elements that this lane holds.
template <int Depth, class T, class Sum, class Term>
void accumulate(T (&d)[4], Sum zero, Term term) {
  const int lane = emulator::lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    Sum sum = zero;
    for (int k = 0; k < Depth; ++k) sum += term(row, k, column);
    d[i] = static_cast<T>(static_cast<Sum>(d[i]) + sum);
  }
}

float half_of(unsigned word, int i) { return __uint_as_float(i == 0 ? word << 16 : word & 0xFFFF0000); }

}  // namespace

unsigned __ballot_sync(unsigned mask, int predicate) {
  const bool mine = predicate != 0;
  const Slot* slots = emulator::exchange(emulator::Operation::kBallot, mask, &mine, sizeof mine);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0 && slots[i][0] == 1) bits |= 1U << i;
  }
  return bits;
}

int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += byte_of(static_cast<unsigned>(a), i) * byte_of(static_cast<unsigned>(b), i);
  return c;
}

unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 0xFF) * (b >> 8 * i & 0xFF);
  return c;
}

unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned which = selector >> 4 * i & 0xF;
    auto byte = static_cast<unsigned>(bytes >> 8 * (which & 7) & 0xFF);
    if (which & 8) byte = (byte & 0x80) != 0 ? 0xFF : 0;
    result |= byte << 8 * i;
  }
  return result;
}

namespace quintet::cuda {

int dot4(unsigned a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += static_cast<int>(a >> 8 * i & 0xFF) * byte_of(static_cast<unsigned>(b), i);
  return c;
}

void mma_s8_16x8x32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const Slot* slots = exchange(a, b);
  accumulate<32>(d, 0, [&](int row, int k, int column) {
    return byte_of(register_of_a<4>(slots, row, k), k % 4) * byte_of(register_of_b<4>(slots, k, column), k % 4);
  });
}

void mma_bf16_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const Slot* slots = exchange(a, b);
  accumulate<16>(d, 0.0, [&](int row, int k, int column) {
    return double{half_of(register_of_a<2>(slots, row, k), k % 2)} * half_of(register_of_b<2>(slots, k, column), k % 2);
  });
}

void mma_tf32_16x8x8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const Slot* slots = exchange(a, b);
  const auto number = [](unsigned bits) { return double{__uint_as_float(bits & ~0x1FFFU)}; };
  accumulate<8>(d, 0.0, [&](int row, int k, int column) {
    return number(register_of_a<1>(slots, row, k)) * number(register_of_b<1>(slots, k, column));
  });
}

void load_matrices(unsigned (&to)[4], const void* row) {
  const Slot* slots = emulator::exchange(emulator::Operation::kLoadMatrices, kAll, &row, sizeof row);
  const int lane = emulator::lane();
  for (int m = 0; m < 4; ++m) {
    const auto* from = from_slot<const unsigned char*>(slots[8 * m + lane / 4]);
    std::memcpy(&to[m], from + 4 * (lane % 4), sizeof to[m]);
  }
}

}  // namespace quintet::cuda

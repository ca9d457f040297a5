// The linear operation with int8 activations on tensor cores, straight from the form "warp".
//
// A block has 32 rows and up to 64 tokens; its warps share the columns, a piece at a time, and add up their whole sums at the end. A lane turns
// a code into three digits (a register of operand A) by a table in shared memory that has a copy for each lane, so that no two lanes want the
// same bank: shift, mask and load for three weights. For so few tokens the weights' bytes from memory take longer than that.
#include "linear.cuh"
#include "quantize.cuh"
#include "warp_form.cuh"

namespace quintet::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kTile = 8;           // tokens of a tensor-core product
constexpr int kTableWords = 128 * 32;
constexpr int kFusedTokens = 2;    // up to so many tokens each block rounds for itself: another launch would take longer
constexpr std::size_t kFusedBytes = 48 << 10;
static_assert(kTableWords == kWarps * kTile * kPieceRows, "the sums take the table's place");

template <class T>
struct Product {
  WarpLinear linear;
  const T* x;   // read where the block rounds it
  Quantized q;  // else
  std::int64_t tokens;
  T* y;
};

// What a lane has of a piece.
struct Codes {
  unsigned words[kLaneWords];
};

__device__ Codes load_codes(const std::uint8_t* piece, int lane) {
  const uint4 low = load_once(reinterpret_cast<const uint4*>(piece) + lane);
  const uint2 middle = load_once(reinterpret_cast<const uint2*>(piece + 512) + lane);
  return {{low.x, low.y, low.z, low.w, middle.x, middle.y, load_once(reinterpret_cast<const unsigned*>(piece + 768) + lane)}};
}

__device__ void fill_table(unsigned* table) {
  for (int i = static_cast<int>(threadIdx.x); i < kTableWords; i += kThreads) {
    unsigned word = 0;
    for (int j = 0; j < kDigitsPerCode; ++j) word |= (static_cast<unsigned>(digit_of(i / 32, j)) & 0xFF) << 8 * j;
    table[i] = word;
  }
}

// Digits of the lane's code I: the code times 128 (the bytes of a table row) plus 4 times the lane is where they lie.
template <int I>
__device__ unsigned digits(const Codes& codes, const std::uint8_t* lane_table) {
  constexpr int kBit = kBitsPerCode * I, kWord = kBit / 32, kShift = kBit % 32 - 7;
  unsigned at;
  if constexpr (kShift < 0) at = codes.words[kWord] << -kShift;
  else if constexpr (kWord + 1 < kLaneWords) at = __funnelshift_r(codes.words[kWord], codes.words[kWord + 1], kShift);
  else at = codes.words[kWord] >> kShift;
  return *reinterpret_cast<const unsigned*>(lane_table + (at & 127U << 7));
}

using Operand = unsigned[4];

template <int M>
__device__ void decode(const Codes& codes, const std::uint8_t* lane_table, Operand (&a)[8]) {
  a[M][0] = digits<4 * M>(codes, lane_table);
  a[M][1] = digits<4 * M + 1>(codes, lane_table);
  a[M][2] = digits<4 * M + 2>(codes, lane_table);
  a[M][3] = digits<4 * M + 3>(codes, lane_table);
  if constexpr (M < 7) decode<M + 1>(codes, lane_table, a);
}

// A lane's sums for a tile of tokens: of 2 x 16 rows.
struct Sums {
  int rows[2][4] = {};
};

// The words of a token that belong to this lane's codes of a piece, or zeros.
__device__ void add_products(const Operand (&a)[8], const int* words, bool there, Sums& sums) {
  int4 low = make_int4(0, 0, 0, 0), high = low;
  if (there) {
    low = reinterpret_cast<const int4*>(words)[0];
    high = reinterpret_cast<const int4*>(words)[1];
  }
  const int q[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int m = 0; m < 8; ++m) {
    const unsigned b[2] = {static_cast<unsigned>(q[m / 2 * 2]), static_cast<unsigned>(q[m / 2 * 2 + 1])};
    mma_s8_16x8x32(sums.rows[m % 2], a[m], b);
  }
}

// Adds up the warps' sums of a tile in shared memory, and writes its results. `first` is the block's first row, `token` the tile's first token.
template <class T>
__device__ void finish_tile(const Product<T>& p, const Sums& mine, const float* token_scale, std::int64_t first, std::int64_t token, int* shared_sums) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  __syncthreads();
  for (int i = 0; i < 8; ++i) {
    const int row = 16 * (i / 4) + 8 * (i / 2 % 2) + lane / 4, column = 2 * (lane % 4) + i % 2;
    shared_sums[(warp * kTile + column) * kPieceRows + row] = mine.rows[i / 4][i % 4];
  }
  __syncthreads();
  const std::int64_t row = first + lane, t = token + warp;
  if (warp >= kTile || row >= p.linear.rows || t >= p.tokens) return;
  int sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += shared_sums[(w * kTile + warp) * kPieceRows + lane];
  const float part = __fmul_rn(static_cast<float>(sum), __fmul_rn(token_scale[warp], p.linear.scale[row]));
  store(p.linear.bias == nullptr ? part : __fadd_rn(p.linear.bias[row], part), p.y + t * p.linear.rows + row);
}

// Tiles: of 8 tokens. Fused: the block rounds its tokens itself, into shared memory.
template <int Tiles, bool Fused, class T>
__global__ void __launch_bounds__(kThreads) product_kernel(Product<T> p) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t pieces = divide_up(p.linear.columns, kPieceColumns), stride = words_of_token(p.linear.columns);
  const std::int64_t token = std::int64_t{blockIdx.y} * kTile * Tiles;
  const std::uint8_t* weights = p.linear.tiles + blockIdx.x * pieces * kPieceBytes;
  // Two pieces are under way before the first is used, and while the tokens are rounded.
  Codes next{}, after{};
  if (warp < pieces) next = load_codes(weights + warp * kPieceBytes, lane);
  if (warp + kWarps < pieces) after = load_codes(weights + (warp + kWarps) * kPieceBytes, lane);

  unsigned* table = shared<unsigned>();
  const int* words = p.q.words + token * stride;
  const float* scales = p.q.scale + token;
  fill_table(table);
  if constexpr (Fused) {
    float* own_scales = reinterpret_cast<float*>(table + kTableWords);
    int* scratch = reinterpret_cast<int*>(own_scales) + kFusedTokens;
    int* own_words = reinterpret_cast<int*>(own_scales) + 32;
    for (int t = 0; t < p.tokens; ++t) {
      const float scale = quantize_token(p.x + t * p.linear.columns, p.linear.columns, own_words + t * stride, scratch);
      if (threadIdx.x == 0) own_scales[t] = scale;
    }
    words = own_words;
    scales = own_scales;
  }
  __syncthreads();

  Sums sums[Tiles];
  const auto* lane_table = reinterpret_cast<const std::uint8_t*>(table + lane);
  for (std::int64_t piece = warp; piece < pieces; piece += kWarps) {
    const Codes codes = next;
    next = after;
    if (piece + 2 * kWarps < pieces) after = load_codes(weights + (piece + 2 * kWarps) * kPieceBytes, lane);
    Operand a[8];
    decode<0>(codes, lane_table, a);
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
      const int t = kTile * tile + lane / 4;
      add_products(a, words + t * stride + piece * kPieceCodes + 8 * (lane % 4), token + t < p.tokens, sums[tile]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < Tiles; ++tile) {
    finish_tile(p, sums[tile], scales + kTile * tile, std::int64_t{blockIdx.x} * kPieceRows, token + kTile * tile, reinterpret_cast<int*>(table));
  }
}

template <class T>
__global__ void quantize_kernel(const T* x, std::int64_t columns, int* words, float* scales) {
  const float scale = quantize_token(x + blockIdx.x * columns, columns, words + blockIdx.x * words_of_token(columns), shared<int>());
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
}

template <int Tiles, bool Fused, class T>
Status launch_product(const Product<T>& p, void* stream) {
  const dim3 grid(static_cast<unsigned>(divide_up(p.linear.rows, kPieceRows)), static_cast<unsigned>(divide_up(p.tokens, kTile * Tiles)));
  std::size_t bytes = kTableWords * sizeof(int);
  if (Fused) bytes += (32 + static_cast<std::size_t>(p.tokens * words_of_token(p.linear.columns))) * sizeof(int);
  return launch(product_kernel<Tiles, Fused, T>, grid, kThreads, bytes, stream, p);
}

}  // namespace

std::int64_t workspace_bytes(std::int64_t tokens, std::int64_t columns, Activations activations) {
  return activations == Activations::kFloat ? 0 : tokens * (words_of_token(columns) + 1) * std::int64_t{sizeof(int)};
}

template <class T>
Status multiply(const WarpLinear& linear, const T* x, std::int64_t tokens, Activations activations, void* workspace, T* y, void* stream) {
  if (tokens == 0 || linear.rows == 0) return {};
  if (activations == Activations::kFloat) return multiply_by_rows(linear, x, {nullptr, nullptr}, tokens, y, stream);
  const std::int64_t stride = words_of_token(linear.columns);
  auto* words = static_cast<int*>(workspace);
  auto* scales = reinterpret_cast<float*>(words + tokens * stride);
  const Product<T> p{linear, x, {words, scales}, tokens, y};
  if (linear.groups == 1 && tokens <= kFusedTokens && static_cast<std::size_t>(tokens * stride) * sizeof(int) <= kFusedBytes) {
    return launch_product<1, true>(p, stream);
  }
  const Status status =
      launch(quantize_kernel<T>, static_cast<unsigned>(tokens), 256, 8 * sizeof(int), stream, x, linear.columns, words, scales);
  if (!status.ok()) return status;
  if (linear.groups > 1) return multiply_by_rows(linear, x, p.q, tokens, y, stream);
  if (tokens <= kTile) return launch_product<1, false>(p, stream);
  if (tokens <= 2 * kTile) return launch_product<2, false>(p, stream);
  if (tokens <= 4 * kTile) return launch_product<4, false>(p, stream);
  return launch_product<8, false>(p, stream);
}

template Status multiply(const WarpLinear&, const float*, std::int64_t, Activations, void*, float*, void*);
template Status multiply(const WarpLinear&, const Bfloat16*, std::int64_t, Activations, void*, Bfloat16*, void*);

}  // namespace quintet::cuda

// Convolution against plain sums over windows, exactly: whole numbers for every form and level, with strides, padding, dilation and groups.
#include <vector>

#include "check.hpp"
#include "quintet/convolution.hpp"

namespace {

using quintet::Activations;
using quintet::Form;
using quintet::Windows;

template <class T>
std::size_t index(T i) {
  return static_cast<std::size_t>(i);
}

struct Case {
  Case(const Windows& w_, std::int64_t rows_, std::int64_t groups_)
      : w(w_), rows(rows_), groups(groups_), digits(check::random_digits(rows * w.columns(), 5)),
        packed(index(rows * quintet::bytes_in_row(w.columns()))), x(index(w.batch * w.channels * w.size[0] * w.size[1])),
        scale(index(groups * rows)), bias(index(rows)) {
    quintet::pack(digits.data(), rows, w.columns(), 5, packed.data());
    // Whole numbers with a largest of 127 in each image: rounding to int8 changes nothing, so the sums are known.
    for (auto& value : x) value = static_cast<float>(check::random(255) - 127);
    for (std::int64_t i = 0; i < w.batch; ++i) x[index(i) * x.size() / index(w.batch)] = 127;
    for (auto& value : scale) value = static_cast<float>(check::random(8) + 1) / 4;
    for (auto& value : bias) value = static_cast<float>(check::random(100));
  }

  float pixel(std::int64_t image, std::int64_t channel, std::int64_t y, std::int64_t x_) const {
    if (y < 0 || y >= w.size[0] || x_ < 0 || x_ >= w.size[1]) return 0;
    return x[index(((image * w.channels + channel) * w.size[0] + y) * w.size[1] + x_)];
  }

  float expected(std::int64_t image, std::int64_t i, std::int64_t j, std::int64_t row) const {
    float sum = bias[index(row)];
    for (std::int64_t k = 0; k < w.columns(); ++k) {
      const std::int64_t b = k % w.kernel[1], a = k / w.kernel[1] % w.kernel[0], c = k / w.kernel[1] / w.kernel[0];
      const float weight = static_cast<float>(digits[index(row * w.columns() + k)]) * scale[index(k / (w.columns() / groups) * rows + row)];
      sum += weight * pixel(image, c, i * w.stride[0] - w.padding[0] + a * w.dilation[0], j * w.stride[1] - w.padding[1] + b * w.dilation[1]);
    }
    return sum;
  }

  std::vector<float> all_expected() const {
    std::vector<float> y;
    for (std::int64_t image = 0; image < w.batch; ++image) {
      for (std::int64_t i = 0; i < w.output(0); ++i) {
        for (std::int64_t j = 0; j < w.output(1); ++j) {
          for (std::int64_t row = 0; row < rows; ++row) y.push_back(expected(image, i, j, row));
        }
      }
    }
    return y;
  }

  void check_form(Form form, const std::vector<float>& wanted) const {
    std::vector<std::uint8_t> tiles(index(quintet::tiled_bytes(form, rows, w.columns())));
    quintet::tile(packed.data(), rows, w.columns(), 5, form, tiles.data());
    const quintet::Linear linear{{tiles.data(), form, rows, w.columns()}, scale.data(), bias.data(), groups};
    for (Activations activations : {Activations::kInt8, Activations::kFloat}) {
      for (int threads : {1, 2}) {
        std::vector<float> y(wanted.size(), -1);
        quintet::convolve(linear, w, x.data(), activations, threads, y.data());
        check::expect(y == wanted, quintet::name_of(quintet::level()), rows, w.columns());
      }
    }
  }

  Windows w;
  std::int64_t rows, groups;
  std::vector<std::int8_t> digits;
  std::vector<std::uint8_t> packed;
  std::vector<float> x, scale, bias;
};

void check_case(const Windows& w, std::int64_t rows, std::int64_t groups) {
  const Case c(w, rows, groups);
  const std::vector<float> wanted = c.all_expected();
  for (quintet::Level level : quintet::levels()) {
    quintet::use(level);
    for (Form form : {Form::kNibble, Form::kDense, Form::kByte}) {
      if (quintet::computes(level, form)) c.check_form(form, wanted);
    }
  }
}

}  // namespace

int main() {
  check_case({1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, 1, 1);
  check_case({2, 3, {11, 13}, {3, 5}, {2, 1}, {1, 2}, {2, 1}}, 20, 3);
  check_case({2, 8, {9, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, 130, 1);
  check_case({1, 4, {30, 31}, {2, 2}, {2, 3}, {3, 0}, {1, 4}}, 40, 16);
  check_case({2, 6, {1, 500}, {1, 9}, {1, 2}, {0, 4}, {1, 3}}, 16, 2);
  return check::report();
}

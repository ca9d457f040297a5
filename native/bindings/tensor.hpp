// A tensor argument: checked once at the border, then a plain pointer and sizes.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstring>
#include <string>

#include "dlpack.hpp"
#include "quintet/linear.hpp"

namespace quintet {

namespace py = pybind11;

// How an element type is called in messages and in DLPack.
template <class T>
struct TypeOf;
template <>
struct TypeOf<std::int8_t> {
  static constexpr dlpack::DataType dtype{dlpack::kInt, 8, 1};
  static constexpr const char* name = "int8";
};
template <>
struct TypeOf<std::uint8_t> {
  static constexpr dlpack::DataType dtype{dlpack::kUInt, 8, 1};
  static constexpr const char* name = "uint8";
};
template <>
struct TypeOf<std::int32_t> {
  static constexpr dlpack::DataType dtype{dlpack::kInt, 32, 1};
  static constexpr const char* name = "int32";
};
template <>
struct TypeOf<std::int64_t> {
  static constexpr dlpack::DataType dtype{dlpack::kInt, 64, 1};
  static constexpr const char* name = "int64";
};
template <>
struct TypeOf<float> {
  static constexpr dlpack::DataType dtype{dlpack::kFloat, 32, 1};
  static constexpr const char* name = "float32";
};
template <>
struct TypeOf<Bfloat16> {
  static constexpr dlpack::DataType dtype{dlpack::kBfloat, 16, 1};
  static constexpr const char* name = "bfloat16";
};

constexpr dlpack::Device kOnCpu{dlpack::kCpu, 0};

constexpr dlpack::Device on_cuda(int ordinal) { return {dlpack::kCuda, ordinal}; }

inline std::string name_of(dlpack::Device device) {
  return device.type == dlpack::kCpu ? "the CPU" : "cuda:" + std::to_string(device.id);
}

// A borrowed tensor of `Rank` dimensions without gaps on the CPU or a CUDA device, that keeps its Python owner alive. Raises ValueError that names the argument.
template <class T, int Rank>
class Tensor {
 public:
  Tensor(const py::object& object, const char* argument, dlpack::Device where = kOnCpu)
      : name_(argument), capsule_(export_of(object)) {
    const auto& source = static_cast<dlpack::ManagedTensor*>(capsule_.get_pointer())->tensor;
    const dlpack::DataType want = TypeOf<T>::dtype;
    const bool there = source.device.type == where.type && (where.type == dlpack::kCpu || source.device.id == where.id);
    require(there, [&] { return "be on " + name_of(where); });
    require(source.dtype.code == want.code && source.dtype.bits == want.bits && source.dtype.lanes == 1,
            [] { return std::string("have dtype ") + TypeOf<T>::name; });
    require(source.ndim == Rank, [&] { return "have " + std::to_string(Rank) + " dimensions, not " + std::to_string(source.ndim); });
    std::copy_n(source.shape, Rank, shape.begin());
    require(dense(source), [] { return "be contiguous"; });
    data = reinterpret_cast<T*>(static_cast<std::uint8_t*>(source.data) + source.byte_offset);
  }

  // Raises ValueError unless dimension `axis` has `size` elements.
  void require_size(int axis, std::int64_t size) const {
    require(shape[axis] == size, [&] {
      return "have size " + std::to_string(size) + " in dimension " + std::to_string(axis) + ", not " + std::to_string(shape[axis]);
    });
  }

  T* data = nullptr;
  std::array<std::int64_t, Rank> shape{};

 private:
  // `what` makes its text, which takes longer than the check, only where it is needed.
  template <class What>
  void require(bool fine, What what) const {
    if (!fine) throw py::value_error(std::string(name_) + " must " + what());
  }

  py::capsule export_of(const py::object& object) const {
    if (py::isinstance<py::capsule>(object)) return checked(object);
    require(py::hasattr(object, "__dlpack__"), [&] { return "be a tensor, not " + py::cast<std::string>(py::repr(py::type::of(object))); });
    return checked(object.attr("__dlpack__")());
  }

  py::capsule checked(const py::object& object) const {
    auto capsule = py::reinterpret_borrow<py::capsule>(object);
    require(capsule.name() != nullptr && std::strcmp(capsule.name(), "dltensor") == 0,
            [] { return "be a DLPack tensor that nobody has taken"; });
    return capsule;
  }

  static bool dense(const dlpack::Tensor& source) {
    std::int64_t expected = 1, elements = 1;
    for (int i = 0; i < Rank; ++i) elements *= source.shape[i];
    if (source.strides == nullptr || elements == 0) return true;
    for (int i = Rank - 1; i >= 0; --i) {
      if (source.shape[i] != 1 && source.strides[i] != expected) return false;
      expected *= source.shape[i];
    }
    return true;
  }

  const char* name_;
  py::capsule capsule_;
};

}  // namespace quintet

// What every CUDA function of the library returns: nothing where all went well, else what CUDA said.
#pragma once

#include <string>
#include <utility>

namespace quintet::cuda {

class Status {
 public:
  Status() = default;
  explicit Status(std::string text) : text_(std::move(text)) {}

  bool ok() const { return text_.empty(); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace quintet::cuda

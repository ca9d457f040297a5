// CUDA's face to Python: which devices there are. The operations are bound in cuda_*.cpp, each beside its CPU twin's checks.
#include "cuda.hpp"

#include <pybind11/stl.h>

namespace quintet {

void bind_cuda(py::module_& module);
void bind_cuda_spiking(py::module_& module);
void bind_cuda_recurrent(py::module_& module);
void bind_cuda_linear(py::module_& module);

void bind_cuda(py::module_& module) {
  py::class_<Place>(module, "Place").def(py::init<int, std::uintptr_t>(), py::arg("device"), py::arg("stream"));
  module.def("cuda_devices", [] {
    py::list found;
    for (const cuda::Device& each : cuda::devices()) {
      found.append(py::dict(py::arg("name") = each.name, py::arg("capability") = py::make_tuple(each.major, each.minor),
                            py::arg("multiprocessors") = each.multiprocessors, py::arg("memory") = each.memory));
    }
    return found;
  });
  bind_cuda_spiking(module);
  bind_cuda_recurrent(module);
  bind_cuda_linear(module);
}

}  // namespace quintet

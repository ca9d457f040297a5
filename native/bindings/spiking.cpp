// The spiking run's face to Python.
#include "spiking.hpp"

namespace quintet {

void bind_spiking(py::module_& module);

namespace {

void forward(const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta, const py::object& beta,
             const py::object& state, const py::object& drive, const SpikingNumbers& numbers, bool keep, const py::object& spikes,
             const py::object& last, const py::object& distances, const py::object& adaptations, const py::object& spike_bits,
             const py::object& ready_bits) {
  const SpikingInputs inputs(weight, places, alpha, theta, beta, state, drive, numbers);
  const SpikingRun& run = inputs.run;
  const Tensor<float, 3> out(spikes, "spikes"), end(last, "last");
  require_shape(out, {run.batch, run.steps, run.neurons});
  require_shape(end, {5, run.batch, run.neurons});
  std::optional<SpikingStore> kept;
  if (keep) kept.emplace(run, distances, adaptations, spike_bits, ready_bits);
  py::gil_scoped_release release;
  spiking_forward(run, out.data, end.data, kept ? &kept->kept : nullptr);
}

void backward(const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta, const py::object& beta,
              const py::object& state, const py::object& drive, const SpikingNumbers& numbers, const py::object& distances,
              const py::object& adaptations, const py::object& spike_bits, const py::object& ready_bits, const py::object& spikes,
              const py::object& last, const py::object& to_weight, const py::object& to_alpha, const py::object& to_theta,
              const py::object& to_beta, const py::object& to_state, const py::object& to_drive) {
  const SpikingInputs inputs(weight, places, alpha, theta, beta, state, drive, numbers);
  const SpikingStore kept(inputs.run, distances, adaptations, spike_bits, ready_bits);
  const SpikingFlow flow(inputs.run, spikes, last, {to_weight, to_alpha, to_theta, to_beta, to_state, to_drive});
  py::gil_scoped_release release;
  spiking_backward(inputs.run, kept.kept, flow.gradients);
}

}  // namespace

void bind_spiking(py::module_& module) {
  py::class_<SpikingNumbers>(module, "SpikingNumbers")
      .def(py::init([](std::int64_t refractory, bool to_zero, double rho, double kappa, double height, int threads) {
        return SpikingNumbers{refractory, to_zero, rho, kappa, height, threads};
      }));
  module.def("spiking_forward", &forward);
  module.def("spiking_backward", &backward);
}

}  // namespace quintet

// A phase of spiking neurons: its face to Python. Sizes, types and ranges are checked here, so that the library may trust its pointers.
#include "quintet/phase.hpp"

#include <pybind11/pybind11.h>

#include <optional>
#include <string>

#include "spiking.hpp"
#include "tensor.hpp"

namespace quintet {

void bind_phase(py::module_& module);

namespace {

using Rows = Tensor<float, 2>;
using Row = Tensor<float, 1>;

// Decay or charge: a number a neuron, [1, N], or one a row too, [B, N].
struct PhaseInputs {
  PhaseInputs(const py::object& x, const py::object& g, const py::object& b, const py::object& m, const py::object& a, const py::object& c,
              const py::object& w, const py::object& s, std::int64_t steps, double rho, double beta, double height, double epsilon)
      : current(x, "current"), modulation(m, "modulation"), decay(a, "decay"), charge(c, "charge"), voltage(w, "voltage"),
        adaptation(s, "adaptation"), gain(g, "gain"), bias(b, "bias") {
    phase.batch = current.shape[0];
    phase.neurons = current.shape[1];
    require(phase.neurons > 0 && phase.neurons % 16 == 0,
            "current must have a multiple of 16 neurons, not " + std::to_string(phase.neurons));
    phase.by_row = decay.shape[0] != 1;
    for (const auto* each : {&modulation, &voltage, &adaptation}) require_shape(*each, {phase.batch, phase.neurons});
    for (const auto* each : {&decay, &charge}) require_shape(*each, {phase.by_row ? phase.batch : 1, phase.neurons});
    for (const auto* each : {&gain, &bias}) each->require_size(0, phase.neurons);
    require(steps >= 1 && steps <= kMostPhaseSteps,
            "steps must be from 1 to " + std::to_string(kMostPhaseSteps) + ", not " + std::to_string(steps));
    phase.steps = steps;
    phase.rho = static_cast<float>(rho);
    phase.beta = static_cast<float>(beta);
    phase.height = static_cast<float>(height);
    phase.epsilon = static_cast<float>(epsilon);
    phase.current = current.data;
    phase.gain = gain.data;
    phase.bias = bias.data;
    phase.modulation = modulation.data;
    phase.decay = decay.data;
    phase.charge = charge.data;
    phase.voltage = voltage.data;
    phase.adaptation = adaptation.data;
  }

  Phase phase{};
  Rows current, modulation, decay, charge, voltage, adaptation;
  Row gain, bias;
};

void forward(const py::object& x, const py::object& g, const py::object& b, const py::object& m, const py::object& a, const py::object& c,
             const py::object& w, const py::object& s, std::int64_t steps, double rho, double beta, double height, double epsilon,
             int threads, const py::object& rate, const py::object& voltage, const py::object& adaptation) {
  const PhaseInputs inputs(x, g, b, m, a, c, w, s, steps, rho, beta, height, epsilon);
  const Rows to_rate(rate, "rate"), to_voltage(voltage, "last"), to_adaptation(adaptation, "adapted");
  for (const auto* each : {&to_rate, &to_voltage, &to_adaptation}) require_shape(*each, {inputs.phase.batch, inputs.phase.neurons});
  py::gil_scoped_release release;
  phase_forward(inputs.phase, threads, to_rate.data, to_voltage.data, to_adaptation.data);
}

void backward(const py::object& x, const py::object& g, const py::object& b, const py::object& m, const py::object& a, const py::object& c,
              const py::object& w, const py::object& s, std::int64_t steps, double rho, double beta, double height, double epsilon,
              int threads, const py::object& rate, const py::object& last, const py::object& dx, const py::object& dg, const py::object& db,
              const py::object& dm, const py::object& da, const py::object& dc, const py::object& dw) {
  const PhaseInputs inputs(x, g, b, m, a, c, w, s, steps, rho, beta, height, epsilon);
  const Phase& phase = inputs.phase;
  std::optional<Rows> from_rate, from_last;
  if (!rate.is_none()) from_rate.emplace(rate, "rate_gradient");
  if (!last.is_none()) from_last.emplace(last, "last_gradient");
  for (const auto* each : {&from_rate, &from_last}) {
    if (*each) require_shape(**each, {phase.batch, phase.neurons});
  }
  const Rows to_x(dx, "current_gradient"), to_m(dm, "modulation_gradient"), to_a(da, "decay_gradient"), to_c(dc, "charge_gradient"),
      to_w(dw, "voltage_gradient");
  const Row to_g(dg, "gain_gradient"), to_b(db, "bias_gradient");
  for (const auto* each : {&to_x, &to_m, &to_w}) require_shape(*each, {phase.batch, phase.neurons});
  for (const auto* each : {&to_a, &to_c}) require_shape(*each, {phase.by_row ? phase.batch : 1, phase.neurons});
  for (const auto* each : {&to_g, &to_b}) each->require_size(0, phase.neurons);
  const PhaseGradients gradients{from_rate ? from_rate->data : nullptr, from_last ? from_last->data : nullptr, to_x.data, to_g.data,
                                 to_b.data, to_m.data, to_a.data, to_c.data, to_w.data};
  py::gil_scoped_release release;
  phase_backward(phase, threads, gradients);
}

}  // namespace

void bind_phase(py::module_& module) {
  module.def("phase_forward", &forward);
  module.def("phase_backward", &backward);
}

}  // namespace quintet

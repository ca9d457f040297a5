// The recurrent run's face to Python.
#include "recurrent_arguments.hpp"

namespace quintet {

void bind_recurrent(py::module_& module);

namespace {

using namespace recurrent;

// What the forward pass keeps: flat tensors of the sizes that the library names.
class Kept {
 public:
  Kept(const RecurrentRun& run, const py::object& values, const py::object& scales, const py::object& masks)
      : values_(values, "values"), scales_(scales, "scales"), masks_(masks, "masks") {
    const RecurrentShape shape = shape_of(run);
    values_.require_size(0, shape.slots * shape.slot);
    scales_.require_size(0, run.steps * run.batch);
    masks_.require_size(0, shape.masks);
    kept = {values_.data, scales_.data, shape.masks > 0 ? reinterpret_cast<std::uint64_t*>(masks_.data) : nullptr};
  }

  RecurrentKept kept;

 private:
  Tensor<float, 1> values_, scales_;
  Tensor<std::int64_t, 1> masks_;
};

void forward(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
             const py::object& places, const Numbers& numbers, const py::object& final, const py::object& states, const py::object& values,
             const py::object& scales, const py::object& masks, bool keep) {
  const Inputs inputs(weight, bias, gain, state, drive, places, numbers);
  const Tensor<float, 2> last(final, "final");
  const Tensor<float, 3> all(states, "states");
  require_rows(last, inputs.run.batch, inputs.run.neurons);
  require_states(all, inputs.run);
  std::optional<Kept> kept;
  if (keep) kept.emplace(inputs.run, values, scales, masks);
  py::gil_scoped_release release;
  recurrent_forward(inputs.run, last.data, all.data, kept ? &kept->kept : nullptr);
}

struct To {
  py::object weight, bias, gain, state, drive;
};

void backward(const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
              const py::object& places, const Numbers& numbers, const py::object& values, const py::object& scales, const py::object& masks,
              const py::object& final, const py::object& states, const To& to) {
  const Inputs inputs(weight, bias, gain, state, drive, places, numbers);
  const RecurrentRun& run = inputs.run;
  const Kept kept(run, values, scales, masks);
  const auto last = tensor_or_none<float, 2>(final, "final_gradient");
  const auto all = tensor_or_none<float, 3>(states, "states_gradient");
  if (last) require_rows(*last, run.batch, run.neurons);
  if (all) require_states(*all, run);
  const Tensor<float, 2> to_weight(to.weight, "weight_gradient"), to_state(to.state, "state_gradient");
  const Tensor<float, 1> to_bias(to.bias, "bias_gradient"), to_gain(to.gain, "gain_gradient");
  const Tensor<float, 3> to_drive(to.drive, "drive_gradient");
  require_rows(to_weight, run.neurons, run.neurons);
  to_bias.require_size(0, run.neurons);
  to_gain.require_size(0, run.neurons);
  require_rows(to_state, run.state == nullptr ? 0 : run.batch, run.neurons);
  for (int axis = 0; axis < 3; ++axis)
    to_drive.require_size(axis, std::array{run.batch, run.frames, run.inputs}[static_cast<std::size_t>(axis)]);
  py::gil_scoped_release release;
  recurrent_backward(run, kept.kept,
                     {last ? last->data : nullptr, all ? all->data : nullptr, to_weight.data, to_bias.data, to_gain.data,
                      run.state == nullptr ? nullptr : to_state.data, to_drive.data});
}

}  // namespace

void bind_recurrent(py::module_& module) {
  py::class_<Numbers>(module, "RecurrentNumbers")
      .def(py::init([](std::int64_t steps, std::int64_t every, bool hold, std::int64_t collect, std::int64_t segment,
                       std::string activation, double dropout, double epsilon, std::uint64_t seed, int threads) {
        return Numbers{steps, every, hold, collect, segment, std::move(activation), dropout, epsilon, seed, threads};
      }));
  module.def("recurrent_forward", &forward);
  module.def("recurrent_backward",
             [](const py::object& weight, const py::object& bias, const py::object& gain, const py::object& state, const py::object& drive,
                const py::object& places, const Numbers& numbers, const py::object& values, const py::object& scales,
                const py::object& masks, const py::object& final, const py::object& states, const py::object& to_weight,
                const py::object& to_bias, const py::object& to_gain, const py::object& to_state, const py::object& to_drive) {
               backward(weight, bias, gain, state, drive, places, numbers, values, scales, masks, final, states,
                        {to_weight, to_bias, to_gain, to_state, to_drive});
             });
}

}  // namespace quintet

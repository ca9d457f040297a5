// The recurrent run on CUDA, a span of steps in each call. All tensors lie on the device that `Place` names.
#include "quintet/cuda/recurrent.hpp"

#include "cuda.hpp"
#include "recurrent_arguments.hpp"

namespace quintet {

void bind_cuda_recurrent(py::module_& module);

namespace {

using namespace recurrent;

// Raises ValueError that names the first dimension that is wrong.
template <std::size_t Rank, class T>
void require_shape(const Tensor<T, static_cast<int>(Rank)>& tensor, const std::array<std::int64_t, Rank>& shape) {
  for (std::size_t axis = 0; axis < Rank; ++axis) tensor.require_size(static_cast<int>(axis), shape[axis]);
}

// The weights and inputs of a run, as Python has them.
struct Given {
  explicit Given(const py::tuple& all)
      : weight(all[0]), bias(all[1]), gain(all[2]), state(all[3]), drive(all[4]), order(all[5]), first(all[6]) {}
  py::object weight, bias, gain, state, drive, order, first;
};

// The steps of one call: what the step before them left, and room for the scales of all steps and for partial sums.
struct Steps {
  explicit Steps(const py::tuple& all)
      : from(py::cast<std::int64_t>(all[0])), to(py::cast<std::int64_t>(all[1])), before(all[2]), scales(all[3]), partials(all[4]) {}
  std::int64_t from, to;
  py::object before, scales, partials;
};

class Span {
 public:
  Span(const Place& place, const Given& given, const Numbers& numbers, const Steps& steps)
      : where(place.device()), inputs_(given.weight, given.bias, given.gain, given.state, given.drive, given.order, numbers, where),
        first_(tensor_or_none<std::int64_t, 1>(given.first, "first", where)),
        before_(tensor_or_none<float, 2>(steps.before, "before", where)), scales_(steps.scales, "scales", where),
        partials_(steps.partials, "partials", where), count(steps.to - steps.from) {
    const RecurrentRun& run = inputs_.run;
    require(steps.from >= 0 && count > 0 && steps.to <= run.steps, [] { return "the span must lie within the steps"; });
    require(run.batch < 1 << 30 && run.neurons < 1 << 30, [] { return "drive must have fewer rows, and weight too"; });
    columns = cuda::padded(run.neurons);
    require_shape<1>(scales_, {run.steps * run.batch});
    require_shape<1>(partials_, {run.batch * cuda::partial_sums(run.neurons)});
    require((given.first.is_none()) == (run.places == nullptr), [] { return "order and first go together"; });
    if (first_) first_->require_size(0, run.neurons + 1);
    require(before_.has_value() == (steps.from > 0), [] { return "before belongs to a span that does not begin the run"; });
    if (before_) require_rows(*before_, run.batch, columns);
    span = {run, steps.from, steps.to, run.places, first_ ? first_->data : nullptr, before_ ? before_->data : nullptr, scales_.data,
            partials_.data};
  }

  const RecurrentRun& run() const { return inputs_.run; }

  const dlpack::Device where;
  cuda::RecurrentSpan span{};

 private:
  Inputs inputs_;
  std::optional<Tensor<std::int64_t, 1>> first_;
  std::optional<Tensor<float, 2>> before_;
  Tensor<float, 1> scales_, partials_;

 public:
  std::int64_t count, columns = 0;
};

void forward(const Place& place, const py::tuple& given, const Numbers& numbers, const py::tuple& steps, const py::object& values,
             const py::object& sums, const py::object& final, const py::object& states) {
  const Span part(place, Given(given), numbers, Steps(steps));
  const RecurrentRun& run = part.run();
  const Tensor<float, 3> kept(values, "values", part.where);
  const auto kept_sums = tensor_or_none<float, 3>(sums, "sums", part.where), all = tensor_or_none<float, 3>(states, "states", part.where);
  const auto last = tensor_or_none<float, 2>(final, "final", part.where);
  require(kept.shape[0] >= std::min<std::int64_t>(part.count, 2), [] { return "values must have a slot for the step before, too"; });
  require_shape<3>(kept, {kept.shape[0], run.batch, part.columns});
  if (kept_sums) require_shape<3>(*kept_sums, {part.count, run.batch, part.columns});
  if (last) require_rows(*last, run.batch, run.neurons);
  if (all) require_states(*all, run);
  const cuda::RecurrentOutputs to{kept.data, kept.shape[0], kept_sums ? kept_sums->data : nullptr, last ? last->data : nullptr,
                                  all ? all->data : nullptr};
  place.run([&](void* stream) { return cuda::recurrent_forward(part.span, to, stream); });
}

// Gradients that come in, and those that go out.
struct Gradients {
  explicit Gradients(const py::tuple& all)
      : final(all[0]), states(all[1]), carried(all[2]), gains(all[3]), errors(all[4]), entering(all[5]), drive(all[6]), products(all[7]) {}
  py::object final, states, carried, gains, errors, entering, drive, products;
};

void backward(const Place& place, const py::tuple& given, const Numbers& numbers, const py::tuple& steps, const py::object& transposed,
              const py::object& kept, const py::tuple& gradients) {
  const Span part(place, Given(given), numbers, Steps(steps));
  const Gradients to(gradients);
  const RecurrentRun& run = part.run();
  const Tensor<float, 2> turned(transposed, "transposed", part.where), carried(to.carried, "carried", part.where),
      gains(to.gains, "gains", part.where);
  const Tensor<float, 3> values(kept, "values", part.where), errors(to.errors, "errors", part.where),
      entering(to.entering, "entering", part.where), drive(to.drive, "drive_gradient", part.where),
      products(to.products, "products", part.where);
  const auto last = tensor_or_none<float, 2>(to.final, "final_gradient", part.where);
  const auto all = tensor_or_none<float, 3>(to.states, "states_gradient", part.where);
  require_rows(turned, run.neurons, run.neurons);
  require_rows(carried, run.batch, part.columns);
  require_rows(gains, run.batch, part.columns);
  for (const auto* each : {&values, &errors, &entering}) require_shape<3>(*each, {part.count, run.batch, part.columns});
  require_shape<3>(drive, {run.frames, run.batch, part.columns});
  require_shape<3>(products, {4, run.batch, part.columns});
  if (last) require_rows(*last, run.batch, run.neurons);
  if (all) require_states(*all, run);
  const cuda::RecurrentErrors errors_to{turned.data,   values.data, last ? last->data : nullptr, all ? all->data : nullptr,
                                        carried.data,  gains.data,  errors.data,                 entering.data,
                                        drive.data,    products.data};
  place.run([&](void* stream) { return cuda::recurrent_backward(part.span, errors_to, stream); });
}

}  // namespace

void bind_cuda_recurrent(py::module_& module) {
  module.def("cuda_recurrent_forward", &forward);
  module.def("cuda_recurrent_backward", &backward);
}

}  // namespace quintet

// The spiking run's face to Python on CUDA devices. `wiring` [N / block + 1 + 2 K] holds the three lists of cuda::Wiring one after the
// other; whoever made it has checked the places.
#include "quintet/cuda/spiking.hpp"

#include "cuda.hpp"
#include "spiking.hpp"

namespace quintet {

void bind_cuda_spiking(py::module_& module);

namespace {

class Lists {
 public:
  Lists(const SpikingRun& run, const py::object& wiring, dlpack::Device device) : all_(wiring, "wiring", device) {
    const std::int64_t starts = run.neurons / run.block + 1;
    all_.require_size(0, starts + 2 * run.blocks);
    wiring_ = {all_.data, all_.data + starts, all_.data + starts + run.blocks};
  }
  const cuda::Wiring& get() const { return wiring_; }

 private:
  Tensor<std::int64_t, 1> all_;
  cuda::Wiring wiring_;
};

// One word for each stream of each tile.
std::uint64_t* words(const SpikingRun& run, const Tensor<std::int64_t, 1>& tensor) {
  tensor.require_size(0, run.batch * (run.neurons / run.block));
  return reinterpret_cast<std::uint64_t*>(tensor.data);
}

void forward(const Place& place, const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta,
             const py::object& beta, const py::object& state, const py::object& drive, const SpikingNumbers& numbers,
             const py::object& wiring, const py::object& before, bool keep, const py::object& spikes, const py::object& last,
             const py::object& distances, const py::object& adaptations, const py::object& spike_bits, const py::object& ready_bits) {
  const dlpack::Device device = place.device();
  const SpikingInputs inputs(weight, places, alpha, theta, beta, state, drive, numbers, device);
  const SpikingRun& run = inputs.run;
  const Lists lists(run, wiring, device);
  const Tensor<float, 3> out(spikes, "spikes", device), end(last, "last", device);
  require_shape(out, {run.batch, run.steps, run.neurons});
  require_shape(end, {5, run.batch, run.neurons});
  const Tensor<std::int64_t, 1> first(before, "before", device), bits(spike_bits, "spike_bits", device);
  bits.require_size(0, run.steps * run.batch * (run.neurons / run.block));
  std::optional<SpikingStore> store;
  if (keep) store.emplace(run, distances, adaptations, spike_bits, ready_bits, device);
  const SpikingKept kept = keep ? store->kept : SpikingKept{nullptr, nullptr, reinterpret_cast<std::uint64_t*>(bits.data), nullptr};
  place.run([&](void* stream) { return cuda::spiking_forward(run, lists.get(), out.data, end.data, words(run, first), kept, stream); });
}

void backward(const Place& place, const py::object& weight, const py::object& places, const py::object& alpha, const py::object& theta,
              const py::object& beta, const py::object& state, const py::object& drive, const SpikingNumbers& numbers,
              const py::object& wiring, const py::object& turned, const py::object& sums, const py::object& before,
              const py::object& distances, const py::object& adaptations, const py::object& spike_bits, const py::object& ready_bits,
              const py::object& spikes, const py::object& last, const py::object& to_weight, const py::object& to_alpha,
              const py::object& to_theta, const py::object& to_beta, const py::object& to_state, const py::object& to_drive) {
  const dlpack::Device device = place.device();
  const SpikingInputs inputs(weight, places, alpha, theta, beta, state, drive, numbers, device);
  const SpikingRun& run = inputs.run;
  const Lists lists(run, wiring, device);
  const Tensor<float, 3> transposed(turned, "turned", device), room(sums, "sums", device);
  require_shape(transposed, {run.blocks, run.block, run.block});
  require_shape(room, {3, cuda::spiking_groups(run.batch), run.neurons});
  const Tensor<std::int64_t, 1> first(before, "before", device);
  const SpikingStore kept(run, distances, adaptations, spike_bits, ready_bits, device);
  const SpikingFlow flow(run, spikes, last, {to_weight, to_alpha, to_theta, to_beta, to_state, to_drive}, device);
  place.run([&](void* stream) {
    return cuda::spiking_backward(run, lists.get(), transposed.data, kept.kept, flow.gradients, room.data, words(run, first), stream);
  });
}

}  // namespace

void bind_cuda_spiking(py::module_& module) {
  module.attr("SPIKING_STREAMS") = cuda::kSpikingStreams;
  module.def("cuda_spiking_forward", &forward);
  module.def("cuda_spiking_backward", &backward);
}

}  // namespace quintet

"""The architecture of each family, and the list of families: a new one adds a class here and its file under `pipeline/models`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Positive


class Architecture(Block):
    """What every family's block has: `context`, the tokens of a training window."""

    recurrent: ClassVar[bool] = False
    """Whether the state between two tokens has a fixed size, so that a text of any length can be read."""
    grows: ClassVar[bool] = False
    """Whether neurons can be added amid a training (`training.growth`)."""
    reads: ClassVar[bool] = True
    """Whether it is made for data sets of tokens: `text` and `arithmetic`."""
    modalities: ClassVar[tuple[str, ...]] = ()
    """What it classifies data sets of the kind `digits` by."""


class Transformer(Architecture):
    """Decoder-only transformer with Qwen3's tensors, under Hugging Face's names."""

    hidden_size: Positive = 128
    num_hidden_layers: Positive = 4
    num_attention_heads: Positive = 4
    num_key_value_heads: Positive | None = None
    head_dim: Positive | None = None
    intermediate_size: Positive = 384
    max_position_embeddings: Positive = 64
    rope_theta: Annotated[float, Field(gt=0)] = 10000.0
    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    tie_word_embeddings: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def context(self) -> int:
        return self.max_position_embeddings

    @model_validator(mode="after")
    def _is_possible(self) -> "Transformer":
        heads, kv = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if self.head_dim is None and self.hidden_size % heads:
            divisors = [n for n in range(1, self.hidden_size + 1) if self.hidden_size % n == 0 and n <= 64]
            raise ValueError(f"num_attention_heads = {heads} does not divide hidden_size = {self.hidden_size}: choose one of {divisors}")
        if (self.head_dim or self.hidden_size // heads) % 2:
            raise ValueError("rotary positions need an even head_dim (hidden_size / num_attention_heads)")
        if heads % kv:
            raise ValueError(f"num_key_value_heads = {kv} does not divide num_attention_heads = {heads}")
        return self


class GRU(Architecture):
    """Gated recurrent units, the baseline of the recurrent families; `embedding_size` is `hidden_size` by default."""

    recurrent = True
    hidden_size: Positive = 128
    embedding_size: Positive | None = None
    num_hidden_layers: Positive = 1
    context: Positive = 64


class RealNet(Architecture):
    """One layer of neurons, all connected to all, run over time: each token has a step of its own and `think_steps` silent ones.

    Tokens enter at the first `input_neurons` and are predicted from the last `output_neurons` (all, by default). An image enters once, a
    pixel a neuron, and the last neurons are the classes; then training asks each row after a number of steps of its own, from `least_steps`
    to all (all, by default).
    """

    recurrent = True
    grows = True
    modalities = ("image",)
    num_neurons: Positive = 256
    input_neurons: Positive | None = None
    output_neurons: Positive | None = None
    think_steps: Count = 1
    activation: Literal["identity", "relu", "leaky_relu", "elu", "tanh", "sigmoid", "gelu", "silu"] = "tanh"
    weight_init: Literal["orthogonal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "sparse", "resonant"] = (
        "orthogonal"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    context: Positive = 64
    least_steps: Annotated[Positive | None, Field(exclude_if=lambda value: value is None)] = None

    @model_validator(mode="after")
    def _is_possible(self) -> "RealNet":
        if self.least_steps is not None and self.least_steps > self.think_steps + 1:
            raise ValueError(f"least_steps = {self.least_steps} is more than all: think_steps + 1 is {self.think_steps + 1}")
        for key in ("input_neurons", "output_neurons"):
            if (number := getattr(self, key)) is not None and number > self.num_neurons:
                raise ValueError(f"{key} = {number} is more than all: num_neurons is {self.num_neurons}")
        return self


Channels = Annotated[tuple[Positive, ...], Field(strict=False)]


class Pentary(Architecture):
    """Classifier of any subset of the data set's modalities: an encoder of each, their fusion, and an MLP with layers of `hidden_dims`.

    Images and spectrograms go through convolutions of so many channels, one after another (none: as they are), sentences become the mean of
    embeddings `embedding_dim` wide. `audio_kernels: time` span all bands, and time alone moves; `patches` move over both, so that a voice
    may lie higher or lower. Every `fusion` but concat first brings all modalities to the width `common`. `dropout` is the share of the
    encoders' outputs that training leaves out.
    """

    reads = False
    modalities = ("image", "text", "audio")
    image_channels: Channels = (16, 32)
    audio_channels: Channels = (32, 32)
    audio_kernels: Literal["time", "patches"] = "time"
    embedding_dim: Positive = 32
    fusion: Literal["concat", "add", "multiply", "gated", "attention"] = "concat"
    common: Positive = 64
    hidden_dims: Channels = (64,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def context(self) -> int:
        return 1


Neurons = Annotated[int, Field(gt=0, multiple_of=16)]
PhaseLength = Annotated[int, Field(ge=1, le=16)]


class NeuroGen(Architecture):
    """Spiking brain: neurons of each module, keys of the hippocampus' memory, internal steps of each phase of a token's cycle.

    `fan_in` is how many sources each neuron of a connection has, 16 neurons sharing theirs (all of a smaller module's); without it, all are
    connected to all. `learning` is how weights learn: backpropagation through a window's tokens, or online by e-prop or reward-modulated
    plasticity. `rate_penalty` weighs what keeps firing rates in their band.
    """

    recurrent = True
    thalamus: Neurons = 96
    wernicke: Neurons = 256
    hippocampus: Neurons = 96
    prefrontal: Neurons = 256
    basal_ganglia: Neurons = 64
    broca: Neurons = 256
    key_size: Positive = 32
    sensation_steps: PhaseLength = 2
    perception_steps: PhaseLength = 4
    integration_steps: PhaseLength = 6
    selection_steps: PhaseLength = 4
    action_steps: PhaseLength = 4
    fan_in: Neurons | None = None
    learning: Literal["bptt", "eprop", "three_factor"] = "bptt"
    rate_penalty: Annotated[float, Field(ge=0)] = 0.1
    context: Positive = 32

    @model_validator(mode="after")
    def _has_whole_columns(self) -> "NeuroGen":
        if self.fan_in is not None and self.key_size % 16:
            raise ValueError(f"key_size = {self.key_size} must be a multiple of 16 with fan_in, whose 16 neurons share their sources")
        return self


FAMILIES: dict[str, type[Architecture]] = {
    "transformer": Transformer,
    "gru": GRU,
    "realnet": RealNet,
    "pentary": Pentary,
    "neurogen": NeuroGen,
}

Family = Literal["transformer", "gru", "realnet", "pentary", "neurogen"]

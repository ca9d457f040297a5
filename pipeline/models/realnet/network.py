"""RealNet: one layer of neurons, all connected to all, run over time instead of through layers.

    h_{t+1} = gain * RMSNorm(dropout(act(h_t W + b + I_t)))

W[i, j] leads from neuron i to neuron j. Input reaches the neurons `input_ids` only; what the neurons `output_ids` show is the output.
Shapes: B rows, T steps, S tokens, N neurons, I input and O output neurons.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.models.realnet import inputs
from pipeline.models.realnet.weights import INITIALISERS, allowed, fresh
from pipeline.models.realnet.whole import Whole
from pipeline.ops import nobody_between, recurrent_run
from pipeline.ops.reference_recurrent import ACTIVATIONS, EPSILON

VOCAB_MODES = ("hybrid", "discrete", "continuous")


class RealNet(nn.Module):
    """The network. `ValueError` names an argument that cannot be, its value and what is allowed.

    input_ids, output_ids: neurons that receive and show; they may overlap. pulse_mode: a single frame enters at the first step only
    (True) or at each step (False). dropout_rate: probability that a neuron is silent for a step of training. vocab_size: None, or the
    widths [v_in, v_out] of an encoder before and a decoder after the neurons, -1 for none, one number for both. vocab_mode: whether the
    encoder takes tokens ("discrete", an embedding), vectors ("continuous", a projection), or has both ("hybrid"). bias_init: standard
    deviation of the first biases. At rest (state and bias zero) RMSNorm's slope is 1 / sqrt(epsilon), and the gradient of a long silence
    before any input is no number: give 0.1 where sequences begin so.
    """

    def __init__(
        self,
        num_neurons: int,
        input_ids: Iterable[int],
        output_ids: Iterable[int],
        pulse_mode: bool = True,
        dropout_rate: float = 0.0,
        device: str | torch.device = "cpu",
        weight_init: str = "orthogonal",
        activation: str = "tanh",
        vocab_size: int | Sequence[int] | None = None,
        vocab_mode: Literal["hybrid", "discrete", "continuous"] = "hybrid",
        *,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(num_neurons, bool) or not isinstance(num_neurons, int) or num_neurons < 1:
            raise ValueError(f"num_neurons must be a whole number of at least 1, not {num_neurons!r}")
        if not isinstance(pulse_mode, bool):
            raise ValueError(f"pulse_mode must be True or False, not {pulse_mode!r}")
        if not _number(dropout_rate) or not 0 <= dropout_rate < 1:
            raise ValueError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate!r}")
        if not _number(bias_init) or not 0 <= bias_init < float("inf"):
            raise ValueError(f"bias_init must be a finite number of at least 0, not {bias_init!r}")
        allowed("weight_init", weight_init, INITIALISERS)
        allowed("activation", activation, ACTIVATIONS)
        allowed("vocab_mode", vocab_mode, VOCAB_MODES)
        self.num_neurons, self.pulse_mode, self.dropout_rate = num_neurons, pulse_mode, float(dropout_rate)
        self.weight_init, self.activation, self.vocab_mode, self.epsilon = weight_init, activation, vocab_mode, EPSILON
        self.input_ids, self.output_ids = _ids("input_ids", input_ids, num_neurons), _ids("output_ids", output_ids, num_neurons)
        self.v_in, self.v_out = _widths(vocab_size)
        self.W = nn.Parameter(fresh(weight_init, num_neurons))
        self.initial_scale = float(self.W.detach().std(correction=0))
        self.bias_init = float(bias_init)
        first = bias_init * torch.randn(num_neurons) if bias_init else torch.zeros(num_neurons)
        self.b, self.gain = nn.Parameter(first), nn.Parameter(torch.ones(num_neurons))
        self.input_scale = nn.Parameter(torch.ones(len(self.input_ids)))
        self.output_scale = nn.Parameter(torch.ones(len(self.output_ids)))
        tokens, vectors = (self.v_in > 0 and vocab_mode in ("hybrid", mode) for mode in ("discrete", "continuous"))
        self.embedding = nn.Embedding(self.v_in, len(self.input_ids)) if tokens else None
        self.projection = nn.Linear(self.v_in, len(self.input_ids), bias=False) if vectors else None
        self.decoder = nn.Linear(len(self.output_ids), self.v_out, bias=False) if self.v_out > 0 else None
        self.register_buffer("places", torch.tensor(self.input_ids), persistent=False)
        self.register_buffer("readers", torch.tensor(self.output_ids), persistent=False)
        self.to(device)

    places: Tensor
    readers: Tensor

    @property
    def device(self) -> torch.device:
        """Where the weights are: what goes in must be there too, nothing is moved behind the user's back."""
        return self.W.device

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make this network's like, as JSON can hold them."""
        return {
            "num_neurons": self.num_neurons,
            "input_ids": self.input_ids,
            "output_ids": self.output_ids,
            "pulse_mode": self.pulse_mode,
            "dropout_rate": self.dropout_rate,
            "weight_init": self.weight_init,
            "activation": self.activation,
            "vocab_size": [self.v_in, self.v_out],
            "vocab_mode": self.vocab_mode,
            "bias_init": self.bias_init,
        }

    def forward(
        self, x_input: Tensor, steps: int = 1, current_state: Tensor | None = None, *, collect: int | None = None, segment: int = 0
    ) -> tuple[Tensor, Tensor]:
        """`steps` steps from `current_state` [B, N] (None: zero) -> (all_states, final_state).

        x_input: tokens [B, S] (whole numbers), a frame [B, features], or frames [B, S, features]; features are I values, N values, or
        v_in for a projection. A sequence is given steps / S steps a token, silent after the first. all_states is [B, C, N], or
        [B, C, v_out] with a decoder: after each step, or after each token's last step for a sequence, so that output k answers token k;
        `collect` reads every so many steps instead (`collect=steps`: the end alone). In it the output neurons are scaled as outputs are.
        final_state [B, N] is the raw state to go on from. `segment`: see `ops.recurrent_run`.
        """
        if self._is_plain(current_state):
            frames = self.frames(x_input).to(self.W.dtype)
            frames_BSI, plan = frames if frames.dim() == 3 else frames[:, None], self.plan(x_input, steps, current_state, collect, segment)
            weights = (self.W, self.b, self.gain, self.input_scale, self.output_scale)
            return Whole.apply(frames_BSI, *weights, plan.pop("state"), self.output_ids[0], plan)  # type: ignore[no-any-return]
        x = self.encode(x_input)
        final_BN, states_BCN = recurrent_run(x, self.W, self.b, self.gain, **self.plan(x_input, steps, current_state, collect, segment))
        return self.read(states_BCN), final_BN

    def plan(
        self, x_input: Tensor, steps: int, state: Tensor | None = None, collect: int | None = None, segment: int = 0
    ) -> dict[str, Any]:
        """What `ops.recurrent_run` needs beside input and weights; the arguments are those of `forward`, a seed of dropout is drawn."""
        when = inputs.timing(x_input, steps, self.pulse_mode)
        if state is not None and list(state.shape) != [len(x_input), self.num_neurons]:
            raise ValueError(f"current_state must be [batch, neurons] = {[len(x_input), self.num_neurons]}, not {list(state.shape)}")
        dropout = self.dropout_rate if self.training else 0.0
        return {
            "steps": steps,
            "state": state,
            "places": self.places,
            "every": when.every,
            "hold": when.hold,
            "collect": when.collect if collect is None else collect,
            "activation": self.activation,
            "dropout": dropout,
            "seed": torch.randint(2**62, ()) if dropout else 0,
            "epsilon": self.epsilon,
            "segment": segment,
        }

    def encode(self, x_input: Tensor) -> Tensor:
        """What enters the input neurons: [B, S, I], S = 1 for a single frame. `ValueError` says what x_input may be."""
        x = self.frames(x_input).to(self.W.dtype) * self.input_scale
        return x if x.dim() == 3 else x[:, None]

    def frames(self, x_input: Tensor) -> Tensor:
        """Input as the input neurons see it before their scales: [B, I] or [B, S, I]."""
        if not isinstance(x_input, Tensor):
            raise ValueError(f"x_input must be a tensor, not {type(x_input).__name__}: see to_tensor")
        if x_input.device != self.device:
            raise ValueError(f"x_input is on {x_input.device} but the network is on {self.device}: move one of them")
        inputs.check_shape(x_input)
        dense = x_input.is_floating_point()
        if self.v_in < 0:
            return inputs.features(x_input, self.places, self.num_neurons) if dense else inputs.one_hot(x_input, len(self.input_ids))
        if dense:
            if self.projection is None:
                raise ValueError("x_input holds vectors, but vocab_mode = 'discrete' takes tokens: build the network with 'hybrid'")
            if x_input.shape[-1] != self.v_in:
                raise ValueError(f"x_input {list(x_input.shape)} must end with {self.v_in} features, the first of vocab_size")
            return self.projection(x_input)
        if self.embedding is None:
            raise ValueError("x_input holds tokens, but vocab_mode = 'continuous' takes vectors: build the network with 'hybrid'")
        inputs.check_tokens(x_input, 0, self.v_in, "a token of the vocabulary")
        return self.embedding(x_input.long())

    def read(self, states: Tensor) -> Tensor:
        """Raw states [..., N] as `forward` returns them: decoded [..., v_out], or with scaled output neurons [..., N]."""
        if self.decoder is not None:
            return self.decoder(states[..., self.readers] * self.output_scale)
        if self._readers_in_a_row():
            first, ones = self.output_ids[0], torch.ones_like(self.gain)
            return states * torch.cat((ones[:first], self.output_scale, ones[first + len(self.output_ids) :]))
        return states * torch.ones_like(self.gain).index_put((self.readers,), self.output_scale)

    def output(self, all_states: Tensor) -> Tensor:
        """The output alone: [..., v_out], or the output neurons [..., O]."""
        if self.decoder is not None:
            return all_states
        if self._readers_in_a_row():
            return all_states.narrow(-1, self.output_ids[0], len(self.output_ids))
        return all_states[..., self.readers]

    def _is_plain(self, state: Tensor | None) -> bool:
        """Whether a gradient is wanted of parameters and states alone, on the CPU and by nobody who looks at the operations in between."""
        known = self.decoder is None and self.v_in < 0 and self._readers_in_a_row() and torch.is_grad_enabled()
        return known and nobody_between(self.W, self.b, self.gain, self.input_scale, self.output_scale, state) and self.W.requires_grad

    def _readers_in_a_row(self) -> bool:
        """Whether the output neurons are neighbours in their order, so that a view shows them: indexing takes longer."""
        return self.output_ids[-1] - self.output_ids[0] == len(self.output_ids) - 1 and self.output_ids == sorted(self.output_ids)

    @torch.no_grad()
    def step(self, x_input: Tensor, state: Tensor | None = None, steps: int = 1) -> tuple[Tensor, Tensor]:
        """One frame [B, features] or token [B, 1] of a stream: the output after `steps` steps and the state to hand on.

        Memory stays the same however long the stream is: nothing is kept for gradients, for which `forward` is there.
        """
        states, state = self(x_input, steps, state, collect=steps)
        return self.output(states)[:, -1], state

    def compile(self, *arguments: Any, **options: Any) -> "RealNet":  # type: ignore[override]
        """Compile in place by `torch.compile`; returns the network itself, whose parameters keep their names."""
        super().compile(*arguments, **options)
        return self


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> Any:
    """A whole number of numpy's or torch's as Python's, anything else as it is."""
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        return value


def _ids(argument: str, ids: Iterable[int], neurons: int) -> list[int]:
    """Neuron numbers as a list: at least one, each once, each from 0 to neurons - 1."""
    if not isinstance(ids, Iterable):
        raise ValueError(f"{argument} must be a list of neurons, not {ids!r}")
    numbers = [number if isinstance(number, int) else _whole(number) for number in ids]
    if not numbers:
        raise ValueError(f"{argument} must name at least one neuron")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < neurons:
            raise ValueError(f"{argument} holds {number!r}, but neurons are numbered from 0 to {neurons - 1}")
    if len(set(numbers)) < len(numbers):
        twice = next(number for i, number in enumerate(numbers) if number in numbers[:i])
        raise ValueError(f"{argument} holds {twice} twice: name each neuron once")
    return numbers


def _widths(vocab_size: int | Sequence[int] | None) -> tuple[int, int]:
    """Widths of encoder and decoder, -1 for none."""
    if vocab_size is None:
        return -1, -1
    widths = [vocab_size, vocab_size] if isinstance(vocab_size, int) else list(vocab_size)
    if len(widths) != 2 or any(isinstance(w, bool) or not isinstance(w, int) or (w < 1 and w != -1) for w in widths):
        raise ValueError(f"vocab_size must be a positive number, or two of them, -1 for none, not {vocab_size!r}")
    return widths[0], widths[1]

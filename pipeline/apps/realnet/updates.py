"""Many updates of a small RealNet, one after another, without torch's operations: for a few neurons those take longer than the network.

What `RealNetTrainer.train_batch` does for a mean squared error and AdamW, in NumPy around the prepared native run; random numbers are drawn
in the same order. Shapes: R rows of data, B of a batch, S frames, I input and O output neurons, C collected states, P parameters.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.apps.realnet.windows import Steps, draw
from pipeline.models.realnet import direct, inputs
from pipeline.models.realnet.network import RealNet
from pipeline.ops import Layer, PreparedRun

Array = npt.NDArray[Any]
NAMES = ("W", "b", "gain", "input_scale", "output_scale")
MOMENTS = ("exp_avg", "exp_avg_sq")
PLAIN = {"amsgrad": False, "maximize": False, "capturable": False, "differentiable": False}


def possible(
    model: RealNet, optimizer: torch.optim.Optimizer, loss_fn: object, x: Tensor, y: Tensor, steps: Steps, every_step: bool
) -> bool:
    """Whether these data, this loss and this optimizer are among those that `Updates` knows; what is wrong with them is said elsewhere."""
    if type(optimizer) is not torch.optim.AdamW or "step" in vars(optimizer) or len(optimizer.param_groups) != 1:
        return False
    group, own = optimizer.param_groups[0], [getattr(model, name) for name in NAMES]
    known = [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in own]
    known = known and all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in own)
    known = known and all(group[key] == value for key, value in PLAIN.items()) and not isinstance(group["lr"], Tensor)
    known = known and not (optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
    if not (known and direct.possible(model, x) and type(loss_fn) is nn.MSELoss and loss_fn.reduction == "mean"):
        return False
    if x.device.type != "cpu" or not y.is_floating_point() or y.requires_grad or (every_step and not isinstance(steps, int)):
        return False
    read = (inputs.timing(x, steps, model.pulse_mode),) if every_step and isinstance(steps, int) else ()
    shape = [len(x), *(steps // when.collect for when in read if isinstance(steps, int)), len(model.output_ids)]
    return list(y.shape) == shape


class Updates:
    """A network's and its optimizer's numbers side by side in vectors, and runs on them for batches of each size."""

    def __init__(self, model: RealNet, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: Steps) -> None:
        self.model, self.optimizer, self.x, self.steps = model, optimizer, x, steps
        with torch.no_grad():
            frames = model.frames(x).float()
        self.frames_RSI: Array = (frames if frames.dim() == 3 else frames[:, None]).numpy()
        self.targets_RCO: Array = y.float().reshape(len(y), -1, len(model.output_ids)).numpy()
        self.every_step = y.dim() == 3
        self.readers = np.asarray(model.output_ids)
        self.parameters = {name: getattr(model, name) for name in NAMES}
        self.sizes = [parameter.numel() for parameter in self.parameters.values()]
        self.held = {key: torch.zeros(sum(self.sizes)) for key in ("value", "gradient", *MOMENTS)}
        self.value, self.gradient, self.first, self.second = (tensor.numpy() for tensor in self.held.values())
        *_, self.in_scale, self.out_scale = self._parts(self.held["value"])
        *_, self.of_in_scale, self.of_out_scale = self._parts(self.held["gradient"])
        self.prepared = (model.dropout_rate, model.pulse_mode, torch.get_num_threads())
        self.runs: dict[tuple[int, int], tuple[PreparedRun, tuple[Array, ...]]] = {}

    def fits(self, model: RealNet, optimizer: torch.optim.Optimizer) -> bool:
        """Whether these are still the network's parameters, which growth replaces, and all that runs are prepared for."""
        same = all(getattr(model, name) is parameter for name, parameter in self.parameters.items())
        return same and optimizer is self.optimizer and (model.dropout_rate, model.pulse_mode, torch.get_num_threads()) == self.prepared

    def epoch(self, batches: Iterable[Tensor], noise: float, clip: float) -> tuple[list[float], int]:
        """An update for each batch of row numbers: their losses, and how many moved nothing, since their gradient was not finite."""
        self._gather()
        losses, skipped = [], 0
        for rows in batches:
            losses.append(self._learn(rows.numpy(), noise))
            norm = math.sqrt(float(self.gradient @ self.gradient))
            if not math.isfinite(norm):
                skipped += 1
                continue
            if norm > clip:
                self.gradient *= clip / norm
            self._move()
        self._scatter()
        return losses, skipped

    def _learn(self, rows: Array, noise: float) -> float:
        """Shake the weights, and find the loss of a batch and its gradient."""
        model, steps = self.model, draw(self.steps, self.x)
        if noise:
            self.value += noise * torch.randn(len(self.value)).numpy()
        seed = int(torch.randint(2**62, ())) if model.dropout_rate else 0
        run, (drive, states, of_states, of_drive) = self._run(len(rows), steps)
        frames_BSI = self.frames_RSI[rows]
        np.multiply(frames_BSI, self.in_scale, out=drive)
        run.forward(seed)
        shown_BCO = states[..., self.readers]
        error_BCO = shown_BCO * self.out_scale - self.targets_RCO[rows]
        of_output_BCO = error_BCO * np.float32(2 / max(error_BCO.size, 1))
        of_states[..., self.readers] = of_output_BCO * self.out_scale
        run.backward()
        self.of_in_scale[:] = (of_drive * frames_BSI).sum((0, 1))
        self.of_out_scale[:] = (of_output_BCO * shown_BCO).sum((0, 1))
        return float((error_BCO * error_BCO).mean())

    def _move(self) -> None:
        """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as torch's."""
        group, gradient = self.optimizer.param_groups[0], self.gradient
        self.moves += 1
        (beta, beta2), rate = group["betas"], group["lr"]
        if group["weight_decay"]:
            self.value *= 1 - rate * group["weight_decay"]
        self.first += (1 - beta) * (gradient - self.first)
        self.second *= beta2
        self.second += (1 - beta2) * (gradient * gradient)
        root = np.sqrt(self.second)
        root *= 1 / math.sqrt(1 - beta2**self.moves)
        root += group["eps"]
        self.value -= rate / (1 - beta**self.moves) * (self.first / root)

    def _run(self, rows: int, steps: int) -> tuple[PreparedRun, tuple[Array, ...]]:
        """The prepared run for a batch of so many rows, and its buffers: drive, states, and the gradients of both, the other way round."""
        if (rows, steps) not in self.runs:
            model, when = self.model, inputs.timing(self.x, steps, self.model.pulse_mode)
            layer, gradients = (Layer(W.view(len(b), len(b)), b, gain) for W, b, gain, *_ in map(self._tensors, ("value", "gradient")))
            run = PreparedRun(
                layer,
                gradients,
                (rows, self.frames_RSI.shape[1]),
                model.places,
                steps=steps,
                every=when.every,
                hold=when.hold,
                collect=when.collect if self.every_step else steps,
                activation=model.activation,
                dropout=model.dropout_rate,
                epsilon=model.epsilon,
            )
            self.runs[rows, steps] = run, tuple(each.numpy() for each in (run.drive, run.states, run.of_states, run.of_drive))
        return self.runs[rows, steps]

    def _tensors(self, key: str) -> tuple[Tensor, ...]:
        """A vector's parts, one a parameter."""
        return self.held[key].split(self.sizes)

    def _parts(self, vector: Tensor) -> list[Array]:
        return [part.numpy() for part in vector.split(self.sizes)]

    @torch.no_grad()
    def _gather(self) -> None:
        """Take the numbers from where torch keeps them."""
        state, self.moves = self.optimizer.state, 0
        for key in ("value", *MOMENTS):
            for part, parameter in zip(self._tensors(key), self.parameters.values(), strict=True):
                held = parameter if key == "value" else state[parameter].get(key) if parameter in state else None
                part.copy_(held.reshape(-1)) if held is not None else part.zero_()
        first = self.parameters["W"]
        if first in state and "step" in state[first]:
            self.moves = int(state[first]["step"])

    @torch.no_grad()
    def _scatter(self) -> None:
        """Put them back, as if torch had made the updates."""
        for key in self.held:
            for part, parameter in zip(self._tensors(key), self.parameters.values(), strict=True):
                shaped = part.view(parameter.shape)
                if key == "value":
                    parameter.copy_(shaped)
                elif key == "gradient":
                    parameter.grad = shaped.clone()
                elif self.moves:
                    state = self.optimizer.state[parameter]
                    state[key] = shaped.clone()
                    state["step"] = torch.tensor(float(self.moves))

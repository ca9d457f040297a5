"""RealNet's trainer: batches in, one optimizer update at a time, with persistent gradients, synaptic noise, regeneration and growth."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import progress
from pipeline.apps.realnet import neurogenesis
from pipeline.apps.realnet.data import to_tensor
from pipeline.apps.realnet.losses import Loss, compare
from pipeline.models.realnet.network import RealNet

Steps = int | tuple[int, int]
"""A number of thinking steps, or (least, most): then each update draws one, and the network learns to answer at any of them."""


class RealNetTrainer:
    """Trains a RealNet where it is.

    optimizer: torch's AdamW of learning rate `lr` by default (bitsandbytes' 8-bit AdamW on a GPU where it is installed, unless NO_BNB=1).
    lr: 0.01 by default: a single layer of few neurons does not move at a deep network's 1e-4. loss_fn: mean squared error by default.
    device: where the network is expected to be; it is never moved. gradient_persistence: share of the last gradient that is added to the
    next one ("ghost gradients": a momentum before the optimizer). synaptic_noise: standard deviation of the noise that each update adds to
    all weights. clip: largest norm of the gradient.
    """

    def __init__(
        self,
        model: RealNet,
        optimizer: torch.optim.Optimizer | None = None,
        loss_fn: Loss | None = None,
        lr: float = 1e-2,
        device: str | torch.device | None = None,
        gradient_persistence: float = 0.0,
        synaptic_noise: float = 1e-6,
        *,
        clip: float = 1.0,
    ) -> None:
        if device is not None and torch.device(device).type != model.device.type:
            raise ValueError(f"device = {str(device)!r}, but the network is on {model.device}: build it there, or move it by model.to(...)")
        for name, value, below in (("gradient_persistence", gradient_persistence, 1.0), ("synaptic_noise", synaptic_noise, float("inf"))):
            if not 0 <= value < below:
                raise ValueError(f"{name} must be at least 0 and below {below}, not {value!r}")
        self.model, self.initial_lr, self.clip = model, lr, clip
        self.optimizer = optimizer if optimizer is not None else default_optimizer(model, lr)
        self.loss_fn: Loss = loss_fn if loss_fn is not None else nn.MSELoss()
        self.gradient_persistence, self.synaptic_noise = gradient_persistence, synaptic_noise
        self._pending = 0

    def fit(
        self,
        input_features: Any,
        target_values: Any,
        epochs: int = 1,
        batch_size: int = 32,
        thinking_steps: Steps = 10,
        *,
        full_sequence: bool = False,
        mask: Any = None,
        output_transform: Callable[[Tensor], Tensor] | None = None,
        gradient_accumulation_steps: int = 1,
        on_epoch: Callable[[int, float], bool | None] | None = None,
        verbose: bool = False,
    ) -> list[float]:
        """Epochs of shuffled batches; returns the mean loss of each. `on_epoch(epoch, loss)` may end the training by returning True.

        Shuffling draws from torch's random numbers, so `torch.manual_seed` repeats a training. `ValueError` as `train_batch`.
        """
        x, y = to_tensor(input_features, self.model.device), to_tensor(target_values, self.model.device)
        m = None if mask is None else to_tensor(mask, self.model.device)
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(f"input_features and target_values must have equally many rows, at least 1, not {len(x)} and {len(y)}")
        history: list[float] = []
        with progress.Bar("fit", epochs, "epochs") if verbose else nullcontext() as bar:
            for epoch in range(epochs):
                losses = [
                    self.train_batch(
                        x[rows],
                        y[rows],
                        thinking_steps,
                        gradient_accumulation_steps,
                        full_sequence,
                        None if m is None else m[rows],
                        output_transform,
                        as_tensor=True,
                    )
                    for rows in torch.randperm(len(x)).to(x.device).split(batch_size)
                ]
                self.flush()
                history.append(float(torch.stack(losses).mean()))
                if bar is not None:
                    bar.advance(1, loss=history[-1])
                if on_epoch is not None and on_epoch(epoch, history[-1]):
                    break
        return history

    def train_batch(
        self,
        input_features: Any,
        target_values: Any,
        thinking_steps: Steps = 10,
        gradient_accumulation_steps: int = 1,
        full_sequence: bool = False,
        mask: Any = None,
        output_transform: Callable[[Tensor], Tensor] | None = None,
        *,
        as_tensor: bool = False,
    ) -> Any:
        """One batch: its loss, a float. The weights move after every `gradient_accumulation_steps` batches.

        The loss compares the output [B, O] after the last step, or with `full_sequence` [B, C, O] at every read step, once it went through
        `output_transform`. mask: weights in the shape of the unreduced losses. `ValueError` for shapes that do not fit.
        """
        model = self.model.train()
        x, y = to_tensor(input_features, model.device), to_tensor(target_values, model.device)
        if self._pending == 0:
            self._begin()
        output = self._output(x, draw(thinking_steps, x), full_sequence)
        if output_transform is not None:
            output = output_transform(output)
        loss = compare(self.loss_fn, output, y, None if mask is None else to_tensor(mask, model.device))
        (loss / gradient_accumulation_steps).backward()
        self._pending += 1
        if self._pending >= gradient_accumulation_steps:
            self.flush()
        return loss.detach() if as_tensor else float(loss.detach())

    def flush(self) -> None:
        """Move the weights by what was accumulated, also where an epoch ends amid it. A gradient that is not finite moves nothing."""
        if self._pending == 0:
            return
        self._pending = 0
        parameters = list(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(parameters, self.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            self.optimizer.zero_grad()

    def predict(self, input_features: Any, thinking_steps: int = 10, full_sequence: bool = False) -> Tensor:
        """Outputs [B, O] after the last step, or [B, C, O] at every read step, without dropout and gradients."""
        model = self.model.eval()
        with torch.no_grad():
            return self._output(to_tensor(input_features, model.device), thinking_steps, full_sequence)

    def regenerate_synapses(self, threshold: float = 0.01, percentage: float | None = None, **options: Any) -> tuple[int, int]:
        """Give useless synapses a new start: see `neurogenesis.regenerate`. Returns (revived, total)."""
        return neurogenesis.regenerate(self.model, self.optimizer, threshold, percentage, **options)

    def expand(self, amount: int = 1, verbose: bool = True) -> None:
        """Add `amount` neurons without changing what the network computes: see `neurogenesis.expand`."""
        neurogenesis.expand(self.model, self.optimizer, amount)
        if verbose:
            progress.say(f"expanded by {amount} to {self.model.num_neurons} neurons")

    def _begin(self) -> None:
        """Before an update: fade or forget the last gradient, shake the weights."""
        if self.gradient_persistence:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(self.gradient_persistence)
        else:
            self.optimizer.zero_grad(set_to_none=True)
        if self.synaptic_noise:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=self.synaptic_noise)

    def _output(self, x: Tensor, steps: int, full_sequence: bool) -> Tensor:
        states, _ = self.model(x, steps, collect=None if full_sequence else steps)
        output = self.model.output(states)
        return output if full_sequence else output[:, -1]


def draw(steps: Steps, x: Tensor) -> int:
    """The number itself, or one of (least, most) by torch's random numbers; for sequences a multiple of the tokens."""
    if isinstance(steps, int):
        return steps
    least, most = steps
    unit = 1 if x.is_floating_point() and x.dim() == 2 else x.shape[1]
    first, last = -(-least // unit), most // unit
    if not 1 <= first <= last:
        raise ValueError(f"thinking_steps = {steps} must be (least, most) around a multiple of {unit}")
    return unit * int(torch.randint(first, last + 1, ()))


def default_optimizer(model: RealNet, lr: float) -> torch.optim.Optimizer:
    """AdamW; in 8 bits on a GPU where bitsandbytes is installed and NO_BNB is not set (VERBOSE_BNB=1 says which)."""
    if model.device.type == "cuda" and os.environ.get("NO_BNB") != "1":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            if os.environ.get("VERBOSE_BNB") == "1":
                progress.say(f"bitsandbytes cannot be used ({error}): torch's AdamW is")
        else:
            return AdamW8bit(model.parameters(), lr=lr)
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, fused=True)

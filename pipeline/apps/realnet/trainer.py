"""RealNet's trainer: batches in, one optimizer update at a time, with persistent gradients, synaptic noise, regeneration and growth."""

import math
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline import progress
from pipeline.apps.realnet import neurogenesis, updates
from pipeline.apps.realnet.anytime import think
from pipeline.apps.realnet.data import to_tensor
from pipeline.apps.realnet.losses import Loss, Transform, compare, with_gradient
from pipeline.apps.realnet.updates import Updates
from pipeline.apps.realnet.windows import Batch, Steps, draw, windows
from pipeline.models.realnet import direct
from pipeline.models.realnet.network import RealNet
from pipeline.models.realnet.weights import allowed


class RealNetTrainer:
    """Trains a RealNet where it is.

    optimizer: torch's AdamW of learning rate `lr` by default (bitsandbytes' 8-bit AdamW on a GPU where it is installed, unless NO_BNB=1).
    lr: 0.01 by default: a single layer of few neurons does not move at a deep network's 1e-4. loss_fn: mean squared error by default.
    device: where the network is expected to be; it is never moved. gradient_persistence: share of the last gradient that is added to the
    next one ("ghost gradients": a momentum before the optimizer). synaptic_noise: standard deviation of the noise that each update adds to
    all weights. clip: largest norm of the gradient. precision: "bf16" runs encoder, decoder and what output_transform does in bfloat16
    (torch.autocast); weights, moments, and the recurrent run stay float32. segment: see `ops.recurrent_run`: less memory, more time.
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
        precision: Literal["float32", "bf16"] = "float32",
        segment: int = 0,
    ) -> None:
        if device is not None and torch.device(device).type != model.device.type:
            raise ValueError(f"device = {str(device)!r}, but the network is on {model.device}: build it there, or move it by model.to(...)")
        for name, value, below in (("gradient_persistence", gradient_persistence, 1.0), ("synaptic_noise", synaptic_noise, float("inf"))):
            if not 0 <= value < below:
                raise ValueError(f"{name} must be at least 0 and below {below}, not {value!r}")
        allowed("precision", precision, ("float32", "bf16"))
        self.model, self.initial_lr, self.clip, self.precision, self.segment = model, lr, clip, precision, segment
        self.optimizer = optimizer if optimizer is not None else default_optimizer(model, lr)
        self.loss_fn: Loss = loss_fn if loss_fn is not None else nn.MSELoss()
        self.gradient_persistence, self.synaptic_noise = gradient_persistence, synaptic_noise
        self.skipped = 0
        """Updates left out, since their gradient was not finite."""
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
        output_transform: Transform | None = None,
        gradient_accumulation_steps: int = 1,
        tbptt_steps: int | None = None,
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

        def learn(rows: Tensor) -> Tensor:
            part = None if m is None else m[rows]
            how = (thinking_steps, gradient_accumulation_steps, full_sequence, part, output_transform)
            return self.train_batch(x[rows], y[rows], *how, tbptt_steps=tbptt_steps, as_tensor=True)  # type: ignore[no-any-return]

        plain = m is None and output_transform is None and gradient_accumulation_steps == 1 and tbptt_steps is None
        history: list[float] = []
        quick: Updates | None = None
        with progress.Bar("fit", epochs, "epochs") if verbose else nullcontext() as bar:
            for epoch in range(epochs):
                batches = torch.randperm(len(x)).to(x.device).split(batch_size)
                quick = self._quick(quick, x, y, thinking_steps, full_sequence) if plain else None
                if quick is not None:
                    history.append(self._epoch(quick, batches))
                else:
                    losses = [learn(rows) for rows in batches]
                    self.flush()
                    history.append(float(torch.stack(losses).mean()))
                if bar is not None:
                    bar.advance(1, loss=history[-1])
                if on_epoch is not None and on_epoch(epoch, history[-1]):
                    break
        return history

    def _quick(self, last: Updates | None, x: Tensor, y: Tensor, steps: Steps, every_step: bool) -> Updates | None:
        """The same updates by fewer operations, where the network is small enough to gain and everything else is as usual."""
        usual = self.precision == "float32" and not (self.segment or self.gradient_persistence or self._pending)
        if not usual or not updates.possible(self.model, self.optimizer, self.loss_fn, x, y, steps, every_step):
            return None
        return last if last is not None and last.fits(self.model, self.optimizer) else Updates(self.model, self.optimizer, x, y, steps)

    def _epoch(self, quick: Updates, batches: Iterable[Tensor]) -> float:
        """The mean loss of an epoch."""
        self.model.train()
        losses, skipped = quick.epoch(batches, self.synaptic_noise, self.clip)
        for _ in range(skipped):
            self._skip()
        return sum(losses) / len(losses)

    def train_batch(
        self,
        input_features: Any,
        target_values: Any,
        thinking_steps: Steps = 10,
        gradient_accumulation_steps: int = 1,
        full_sequence: bool = False,
        mask: Any = None,
        output_transform: Transform | None = None,
        *,
        tbptt_steps: int | None = None,
        as_tensor: bool = False,
    ) -> Any:
        """One batch: its loss, a float. The weights move after every `gradient_accumulation_steps` batches.

        The loss compares the output [B, O] after the last step, or with `full_sequence` [B, C, O] at every read step, once it went through
        `output_transform`. mask: weights in the shape of the unreduced losses. tbptt_steps: truncated backpropagation in windows of so many
        steps, each a batch of its own, that begins with the state that the last one left but sends no gradient back to it; memory is one
        window's. `ValueError` for shapes that do not fit.
        """
        if not self.model.training:
            self.model.train()
        x, y = to_tensor(input_features, self.model.device), to_tensor(target_values, self.model.device)
        batch = Batch(x, y, None if mask is None else to_tensor(mask, self.model.device), draw(thinking_steps, x))
        if tbptt_steps is None:
            parts = [batch]
        elif full_sequence:
            parts = list(windows(batch, tbptt_steps, self.model.pulse_mode))
        else:
            raise ValueError("tbptt_steps needs full_sequence=True: a loss at the last step alone teaches the last window alone")
        loss, state = torch.zeros((), device=x.device), None
        for part in parts:
            part_loss, state = self._learn(part, state, full_sequence, output_transform, 1 / gradient_accumulation_steps)
            loss = loss + part_loss * (part.steps / batch.steps)
            self._pending += 1
            if self._pending >= gradient_accumulation_steps:
                self.flush()
        return loss if as_tensor else float(loss)

    def flush(self) -> None:
        """Move the weights by what was accumulated, also where an epoch ends amid it.

        A gradient that is not finite moves nothing; `skipped` counts these, and the first is said.
        """
        if self._pending == 0:
            return
        self._pending = 0
        gradients = [parameter.grad for parameter in self._parameters() if parameter.grad is not None]
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        if not math.isfinite(norm):
            self._skip()
            self.optimizer.zero_grad()
            return
        if norm > self.clip:
            torch._foreach_mul_(gradients, self.clip / norm)
        self.optimizer.step()

    def _skip(self) -> None:
        """Count an update that is left out, and say so of the first."""
        if self.skipped == 0:
            progress.say("a gradient is not finite, and moves nothing: is the loss, or does a long silence begin at rest (see bias_init)?")
        self.skipped += 1

    def predict(
        self, input_features: Any, thinking_steps: int = 10, full_sequence: bool = False, *, confidence: float | None = None
    ) -> Tensor:
        """Outputs [B, O] after the last step, or [B, C, O] at every read step, without dropout and gradients.

        With a `confidence` a row stops thinking as soon as one class has that share of its output's softmax: see `anytime.think`.
        """
        model = self.model.eval()
        if confidence is not None:
            if full_sequence:
                raise ValueError("confidence ends each row at a step of its own: give full_sequence=False")
            return think(model, input_features, thinking_steps, confidence)[0]
        with torch.no_grad():
            states, _ = model(to_tensor(input_features, model.device), thinking_steps, collect=None if full_sequence else thinking_steps)
            output = model.output(states)
            return output if full_sequence else output[:, -1]

    def regenerate_synapses(self, threshold: float = 0.01, percentage: float | None = None, **options: Any) -> tuple[int, int]:
        """Give useless synapses a new start: see `neurogenesis.regenerate`. Returns (revived, total)."""
        return neurogenesis.regenerate(self.model, self.optimizer, threshold, percentage, **options)

    def expand(self, amount: int = 1, verbose: bool = True) -> None:
        """Add `amount` neurons without changing what the network computes: see `neurogenesis.expand`."""
        neurogenesis.expand(self.model, self.optimizer, amount)
        if verbose:
            progress.say(f"expanded by {amount} to {self.model.num_neurons} neurons")

    def _learn(
        self, batch: Batch, state: Tensor | None, full_sequence: bool, transform: Transform | None, share: float
    ) -> tuple[Tensor, Tensor]:
        """Add `share` of the batch's gradient to what the parameters have; the loss, and the state at the end."""
        if self._pending == 0:
            self._begin()
        model, collect = self.model, None if full_sequence else batch.steps
        if self.precision == "float32" and direct.possible(model, batch.x):
            output, final, pull = direct.run(model, batch.x, batch.steps, state, collect, self.segment)
            shown = output if full_sequence else output[:, -1]
            loss, gradient = with_gradient(self.loss_fn, shown, batch.y, batch.mask, transform, share)
            for name, value in pull(gradient if full_sequence else gradient[:, None]).items():
                parameter = getattr(model, name)
                if parameter.requires_grad:
                    parameter.grad = value if parameter.grad is None else parameter.grad.add_(value)
            return loss, final
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            states, final = model(batch.x, batch.steps, state, collect=collect, segment=self.segment)
            output = model.output(states)
            output = output if full_sequence else output[:, -1]
            output = output if transform is None else transform(output)
        loss = compare(self.loss_fn, output.float(), batch.y, batch.mask)
        (loss * share).backward()
        return loss.detach(), final.detach()

    def _begin(self) -> None:
        """Before an update: fade or forget the last gradient, shake the weights."""
        parameters = self._parameters()
        if self.gradient_persistence:
            held = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if held:
                torch._foreach_mul_(held, self.gradient_persistence)
        else:
            for parameter in parameters:
                parameter.grad = None
        if self.synaptic_noise:
            with torch.no_grad():
                sizes = [parameter.numel() for parameter in parameters]
                noise = torch.randn(sum(sizes), device=self.model.device).split(sizes)
                shaped = [each.view(parameter.shape) for each, parameter in zip(noise, parameters, strict=True)]
                torch._foreach_add_(parameters, shaped, alpha=self.synaptic_noise)

    def _parameters(self) -> list[Tensor]:
        """What the optimizer moves."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


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

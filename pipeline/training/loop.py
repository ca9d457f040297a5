"""The one loop: every family, every task."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import rng
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.progress import Bar, say
from pipeline.training import growth, optimizers, schedules, state
from pipeline.training.checkpoints import Store
from pipeline.training.devices import products
from pipeline.training.episodes import Episodes
from pipeline.training.interrupts import StopRequest
from pipeline.training.pace import Pace
from pipeline.training.streams import Reader
from pipeline.training.tasks import UNSCORED, Batch, Task, loss_sum

LOG_EVERY = 10
"""Steps between two readings of the loss."""


class Trainer:
    """One training, from its first step or from where its checkpoints left it.

    `events` takes curves and samples (`metrics`, `text`), whose names begin with `prefix`.
    """

    def __init__(self, module: Model, task: Task, seed: int, store: Store, events: Any, title: str, prefix: str = "") -> None:
        self.module, self.task, self.settings, self.store = module, task, task.settings, store
        self.events, self.title, self.prefix = events, title, prefix
        self.seed, self.optimizers = seed, optimizers.build(module, self.settings)
        self.reader = task.reader(module)
        wanted = self.settings.consolidation
        self.episodes = Episodes(wanted, seed) if wanted else None
        self.progress = state.Progress()
        self.best: state.Tensors = {}
        self.loss = torch.zeros((), dtype=torch.float64, device=module.device)
        """Sum of the steps' losses since the last evaluation."""
        self.pace = Pace(task.tokens_per_step, module.device)
        rng.seed_global(seed, "training")

    def run(self) -> None:
        """Train to the end and leave the module with its best weights.

        Raises `KeyboardInterrupt` after Ctrl-C or SIGTERM, once the step is done and saved, and `UserError` where the loss is not finite.
        """
        self._resume()
        s, p = self.settings, self.progress
        bar = Bar(self.title, total=s.steps, unit="steps", start=p.step)
        with products(self.module.device, s.precision), StopRequest() as stop, bar:
            while p.step < s.steps and not p.stopped:
                self.pace.step(self._step())
                bar.advance(1, **(self._log() if p.step % LOG_EVERY == 0 else {}))
                with self.pace.paused():
                    self._between_steps(stop.requested)
                if stop.requested:
                    raise KeyboardInterrupt
        self.module.load_state_dict(self.best)
        self.module.eval()

    def results(self) -> dict[str, Any]:
        """Metrics of the published weights on whole splits (of training data as much as the curve's validation reads), and counts."""
        limit = self.settings.validation_tokens or self.task.splits["validation"].size
        with products(self.module.device, self.settings.precision):
            figures = {split: self.task.evaluate(self.module, split, limit if split == "train" else None) for split in self.task.splits}
        counts = {"parameters": self.module.parameter_count(), "steps": self.progress.step, "best_step": self.progress.best_step}
        counts |= {"tokens": self.progress.step * self.task.tokens_per_step}
        return {**figures, **counts, **({"replayed_tokens": self.episodes.replayed} if self.episodes else {})}

    def _step(self) -> Tensor:
        """One optimizer step, and where it is due one more on what is recalled; the mean loss of the first."""
        total = self._learn(self.task.batch(self.progress.step), self._loss)
        self.loss += total
        if self.episodes and (again := self.episodes.recalled(self.progress.step + 1)):
            self._learn(again, lambda inputs, targets: loss_sum(self.module(inputs)[0], targets))
        self.progress.step += 1
        return total

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = self.reader(inputs)
        if self.episodes:
            self.episodes.see(inputs, logits, targets)
        return self.task.loss(inputs, logits, targets)

    def _learn(self, batch: Batch, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """One optimizer step over a batch, in micro-batches, by the mean loss over all their scored positions, which it returns."""
        s = self.settings
        positions = int((batch.targets != UNSCORED).sum())
        total = torch.zeros_like(self.loss)
        self.module.train()
        pieces = list(zip(batch.inputs.split(s.batch_size), batch.targets.split(s.batch_size), strict=True))
        for inputs, targets in pieces:
            loss = loss_of(inputs.to(self.module.device), targets.to(self.module.device)) / positions
            if self.module.penalty is not None:
                loss, self.module.penalty = loss + self.module.penalty / len(pieces), None
            loss.backward()
            total += loss.detach()
        if s.gradient_clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), s.gradient_clip)
        optimizers.set_rate(self.optimizers, schedules.factor(self.progress.step, s))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return total

    def _between_steps(self, stopping: bool) -> None:
        """What is due after this step: evaluation, a sample, a checkpoint."""
        s, p = self.settings, self.progress
        last = p.step == s.steps
        if any(each.step == p.step for each in s.growth):
            self._grow(p.step - 1, p.step)
            p.best_score, p.stale, self.best = None, 0, {}
            say(f"{self.title}: grown to {self.module.parameter_count():,} weights at step {p.step}")
        if last or p.step % s.evaluate_every == 0:
            self._evaluate()
        if s.sample_every and p.step % s.sample_every == 0:
            self.module.eval()
            self.events.text(f"{self.prefix}samples/{p.step:08d}.txt", self.task.sample(self.module))
        if last or stopping or p.stopped or p.step % s.checkpoint_every == 0:
            self.store.save(p.step, *state.capture(self.module, self.optimizers, p, self.best, self.loss, self._carriers()))

    def _carriers(self) -> dict[str, Reader | Episodes]:
        """Who may carry something from step to step."""
        every = {"pupil": self.reader, "teacher": self.task.teacher, "episodes": self.episodes}
        return {name: carrier for name, carrier in every.items() if carrier is not None}

    def _log(self) -> dict[str, float]:
        """Loss and speed to the event log, and what the bar shows of them."""
        figures, step = self.pace.read(), self.progress.step
        self._finite(figures["loss"])
        figures |= {"tokens": step * self.task.tokens_per_step, "learning_rate": self._rate()}
        groups = {"train": figures, "statistics": self.module.statistics()}
        self.events.metrics({f"{self.prefix}{group}/{name}": v for group, each in groups.items() for name, v in each.items()}, step)
        return {"loss": figures["loss"], "tokens/s": figures["tokens_per_second"]}

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise UserError(f"{self.title}: the loss is {loss} after {self.progress.step} steps: lower its learning rates")
        return loss

    def _rate(self) -> float:
        """AdamW's learning rate in the last step."""
        return float(self.settings.learning_rate * schedules.factor(self.progress.step - 1, self.settings))

    def _evaluate(self) -> None:
        """Judge by the validation split: a row of the curve, the best weights kept, patience counted."""
        p = self.progress
        since = p.step - (p.curve[-1]["step"] if p.curve else 0)
        self.module.eval()
        metrics = self.task.evaluate(self.module, "validation", self.settings.validation_tokens or None)
        self.events.metrics({f"{self.prefix}validation/{name}": value for name, value in metrics.items()}, p.step)
        p.curve.append(
            {
                "step": p.step,
                "tokens": p.step * self.task.tokens_per_step,
                "train_loss": self._finite(self.loss.item() / since),
                **{f"validation_{name}": value for name, value in metrics.items()},
                "learning_rate": self._rate(),
            }
        )
        self.loss.zero_()
        score = self.task.score(metrics)
        if p.best_score is None or score < p.best_score:
            p.best_step, p.best_score, p.stale = p.step, score, 0
            self.best = state.weights(self.module)
            return
        p.stale += 1
        p.stopped = 0 < self.settings.patience <= p.stale
        if p.stopped:
            say(f"{self.title}: no better for {p.stale} evaluations, so it ends at step {p.step}; the best was at step {p.best_step}")

    def _grow(self, after: int, until: int) -> None:
        """All growth that is due after the one step and until the other."""
        for each in self.settings.growth:
            if after < each.step <= until:
                stream = rng.generator(self.seed, "growth", each.step)
                growth.grow(self.module, self.optimizers, self.reader, each.neurons, stream)

    def _resume(self) -> None:
        """Go on from the newest checkpoint that is whole, if there is one."""
        checkpoint = self.store.load()
        if checkpoint is not None:
            self._grow(0, checkpoint.step)
            self.progress, self.best, self.loss = state.restore(checkpoint, self.module, self.optimizers, self._carriers())
            say(f"{self.title}: going on from step {self.progress.step}")

"""`NeuroGenModel`: the brain as an object that reads, learns and writes token ids.

Shapes: B streams, T tokens, V vocabulary, D components of an embedding. Whatever takes ids takes [T] (lists or arrays), and [B, T] for
several streams; what it gives back has the batch's axis where it was given one.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import rng
from pipeline.apps.neurogen import arrays, checkpoint
from pipeline.models import generation, neurogen
from pipeline.models.neurogen import Brain, State, anatomy
from pipeline.schema.families import NeuroGen

Floats = npt.NDArray[np.float32]

BETAS, CLIP = (0.9, 0.98), 1.0
RECENT = 0.05
"""Share of the last loss in the average."""


class NeuroGenModel:
    """A brain with a state: `forward` and `train_step` go on where the last call ended, until `reset`.

    embedding_dim is also the number of the thalamus' neurons, whose current an embedding is: a multiple of 16, as are the other modules'
    sizes. gpu_device: a GPU's index, -1 or "cpu" for the CPU. architecture: any other size or choice of the family `neurogen`, such as
    `wernicke=512`, `learning="eprop"`. Raises `ValueError` for a size that cannot be, `RuntimeError` for a GPU that is not there.
    """

    def __init__(
        self,
        vocab_size: int = 10000,
        embedding_dim: int = 512,
        gpu_device: int | str = -1,
        *,
        learning_rate: float = 0.01,
        seed: int = 0,
        **architecture: Any,
    ) -> None:
        if "thalamus" in architecture:
            raise ValueError("thalamus is given by embedding_dim")
        if type(vocab_size) is not int or vocab_size < 2:
            raise ValueError(f"vocab_size is {vocab_size!r}: it must be a whole number of at least 2")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate is {learning_rate!r}: it must be above 0")
        self.device = arrays.device(gpu_device)
        block = NeuroGen.model_validate({"thalamus": embedding_dim, **architecture})
        module = neurogen.build(neurogen.configuration(block, vocab_size, None, {"recurrent": True}))
        neurogen.initialize(module, seed)
        counts = {"seed": seed, "learning_rate": learning_rate, "steps": 0, "tokens": 0, "draws": 0, "loss": None, "average_loss": None}
        self._take(module, counts)

    def _take(self, module: Brain, record: Mapping[str, Any]) -> None:
        """Become this brain at rest, with this record of what it did."""
        self.brain = module.to(self.device).eval()
        self.brain.record = True
        self.record = dict(record)
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=record["learning_rate"], betas=BETAS, weight_decay=0.0, fused=True)
        self.rates: dict[str, float] = dict.fromkeys(anatomy.MODULES, 0.0)
        """Mean spikes an internal step, of each module in the last call."""
        self.state: State | None = None

    @property
    def vocab_size(self) -> int:
        return int(self.brain.config["vocab_size"])

    @property
    def embedding_dim(self) -> int:
        return self.brain.sizes["thalamus"]

    @torch.no_grad()
    def encode_tokens(self, token_ids: Any) -> Floats:
        """Embeddings [T, D] or [B, T, D]."""
        ids, batched = arrays.token_ids("token_ids", token_ids, self.vocab_size)
        return _numpy(self.brain.embed_tokens(ids.to(self.device)), batched)

    @torch.no_grad()
    def forward(self, embedding: Any) -> Floats:
        """Read embeddings [T, D] or [B, T, D] in their order; logits [V] or [B, V] of the token after the last.

        The neuromodulators measure how surprising each token is; of an embedding, that is the token whose own is the nearest.
        """
        given, batched = arrays.vectors("embedding", embedding, self.embedding_dim, (1, 2))
        drive_BTN = given.to(self.device)
        table = self.brain.embed_tokens.weight[None]
        tokens_BT = torch.cdist(drive_BTN, table, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)
        cycle = self.brain.cycle(self._state("embedding", len(tokens_BT)))
        for token_B, drive_BN in zip(tokens_BT.unbind(1), drive_BTN.unbind(1), strict=True):
            cycle.token(token_B, drive_BN)
        self.state = cycle.state()
        self.rates = {name: float(torch.stack(rates).mean()) for name, rates in cycle.rates.items()}
        return _numpy(self.brain.lm_head(cycle.now["broca"]), batched)

    def train_step(self, input_token_ids: Any, target_token_ids: Any) -> float:
        """Learn each target [T] or [B, T] from the inputs up to its place: the mean loss in nats, before the weights move.

        Raises `ValueError` for unequal shapes, `RuntimeError` where the loss is not finite (the weights stay as they were).
        """
        inputs, _ = arrays.token_ids("input_token_ids", input_token_ids, self.vocab_size)
        targets, _ = arrays.token_ids("target_token_ids", target_token_ids, self.vocab_size)
        if inputs.shape != targets.shape:
            raise ValueError(
                f"input_token_ids are {list(inputs.shape)} and target_token_ids {list(targets.shape)}: they must be of one shape"
            )
        self.brain.train()
        logits_BTV, state = self.brain(inputs.to(self.device), self._state("input_token_ids", len(inputs)))
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), targets.to(self.device).flatten())
        self.brain.eval()
        if not math.isfinite(value := loss.item()):
            raise RuntimeError(f"the loss is {value}: load a checkpoint, or start again with a lower learning_rate than {self._rate}")
        with torch.random.fork_rng(devices=[]):  # a rule that draws noise draws the same after a checkpoint
            torch.manual_seed(rng.derive(self.record["seed"], "learn", self.record["steps"]))
            (loss if self.brain.penalty is None else loss + self.brain.penalty).backward()
        torch.nn.utils.clip_grad_norm_(self.brain.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state = State(*(part.detach() for part in state))
        self._note(value, inputs.numel())
        return value

    def sample_token(self, logits: Any, temperature: float = 1.0, *, top_k: int = 0, top_p: float = 1.0) -> Any:
        """An id drawn from logits [V], or a list of ids from [B, V]; the likeliest at temperature 0.

        It is drawn from softmax(logits / temperature), of the `top_k` likeliest and the nucleus of mass `top_p` where these are given.
        """
        given, batched = arrays.vectors("logits", logits, self.vocab_size, (0, 1))
        ids = generation.choose(given, _temperature(temperature), top_k, top_p, self._chance("cpu")).tolist()
        return ids if batched else ids[0]

    def generate(
        self, prompt_token_ids: Any, max_length: int = 100, temperature: float = 1.0, *, top_k: int = 0, top_p: float = 1.0
    ) -> list[Any]:
        """The prompt and `max_length` tokens after it; of several prompts, whose lengths may differ, a list of such lists.

        The brain starts from rest, and its state of before is there again afterwards.
        """
        several = np.iterable(prompt_token_ids) and np.ndim(next(iter(prompt_token_ids), 0)) > 0
        given: Sequence[Any] = prompt_token_ids if several else [prompt_token_ids]
        prompts = [arrays.token_ids("prompt_token_ids", each, self.vocab_size).tensor[0].tolist() for each in given]
        if type(max_length) is not int or max_length < 1:
            raise ValueError(f"max_length is {max_length!r}: it must be a whole number of at least 1")
        how: dict[str, Any] = {"temperature": _temperature(temperature), "top_k": top_k, "top_p": top_p}
        drawn = generation.generate(self.brain, prompts, max_length, generator=self._chance(self.device), **how)
        texts = [[*prompt, *new] for prompt, new in zip(prompts, drawn, strict=True)]
        return texts if several else texts[0]

    def save_checkpoint(self, path: str | Path) -> None:
        """Configuration, weights, optimizer, state and counts, in one file that is there whole or not at all."""
        groups = {
            "weights": self.brain.state_dict(),
            "optimizer": checkpoint.of_optimizer(self.optimizer),
            "state": {} if self.state is None else self.state._asdict(),
        }
        checkpoint.write(Path(path), groups, {"config": self.brain.config, "counts": self.record, "rates": self.rates})

    def load_checkpoint(self, path: str | Path) -> None:
        """Go on exactly where `save_checkpoint` was called; this model stays as it is where the file is refused.

        Raises `RuntimeError` for a file that is missing or damaged, `ValueError` for a brain of another configuration.
        """
        groups, record = checkpoint.read(Path(path))
        for key, value in self.brain.config.items():
            if (found := checkpoint.entry(path, record, "config", dict).get(key)) != value:
                raise ValueError(f"{path} is of another brain: its {key} is {found}, that of this one {value}")
        if (counts := checkpoint.entry(path, record, "counts", dict)).keys() != self.record.keys():
            raise RuntimeError(f"{path}: its record has the counts {sorted(counts)}, not {sorted(self.record)}: {checkpoint.AGAIN}")
        loaded = copy.copy(self)
        loaded._take(checkpoint.brain(Path(path), self.brain.config, groups["weights"]), counts)
        loaded.rates = checkpoint.entry(path, record, "rates", dict)
        checkpoint.into_optimizer(path, loaded.optimizer, groups["optimizer"])
        if groups["state"]:
            streams = len(groups["state"].get("voltage", ()))
            wanted = loaded.brain.initial_state(streams)._asdict()
            checkpoint.require_alike(path, groups["state"], wanted)
            loaded.state = State(**{name: part.to(self.device) for name, part in groups["state"].items()})
        vars(self).update(vars(loaded))

    def get_statistics(self) -> dict[str, Any]:
        """Counts, losses, neuromodulators (means over the streams), and what the modules did in the last call, as numbers for JSON."""
        dopamine, serotonin = [0.0, 0.0] if self.state is None else self.state.modulators[:, :2].mean(0).tolist()
        average = self.record["average_loss"]
        return {
            "vocab_size": self.vocab_size,
            "embedding_dim": self.embedding_dim,
            "parameters": self.brain.parameter_count(),
            "training_steps": self.record["steps"],
            "tokens_processed": self.record["tokens"],
            "loss": self.record["loss"],
            "average_loss": average,
            "average_reward": None if average is None else -average,
            "dopamine": dopamine,
            "serotonin": serotonin,
            "firing_rates": dict(self.rates),
            "phases": {
                phase: {"steps": self.brain.config["phase_steps"][phase], "rate": sum(self.rates[name] for name in names) / len(names)}
                for phase, names in anatomy.PHASES.items()
            },
        }

    def reset(self) -> None:
        """Bring the brain to rest: it forgets what it read, not what it learned."""
        self.state = None

    @property
    def _rate(self) -> float:
        return float(self.record["learning_rate"])

    def _state(self, name: str, streams: int) -> State:
        if self.state is None:
            return self.brain.initial_state(streams)
        if (held := len(self.state.voltage)) != streams:
            raise ValueError(
                f"{name} has {streams} streams, but the brain's state is of {held}: call reset() before another number of them"
            )
        return self.state

    def _chance(self, device: torch.device | str) -> torch.Generator:
        """Random numbers of one call's own, which go on after a checkpoint."""
        self.record["draws"] += 1
        return torch.Generator(device).manual_seed(rng.derive(self.record["seed"], "draw", self.record["draws"]))

    def _note(self, loss: float, tokens: int) -> None:
        """What `get_statistics` tells of a step."""
        r, recording = self.record, self.brain.recording
        average = loss if r["average_loss"] is None else (1 - RECENT) * r["average_loss"] + RECENT * loss
        r.update(steps=r["steps"] + 1, tokens=r["tokens"] + tokens, loss=loss, average_loss=average)
        assert recording is not None
        parts = recording.rates.detach().mean((0, 1)).split(list(self.brain.sizes.values()))
        self.rates = {name: float(part.mean()) for name, part in zip(anatomy.MODULES, parts, strict=True)}
        self.brain.recording = None


def _numpy(x: Tensor, batched: bool) -> Floats:
    found: Floats = (x if batched else x[0]).detach().cpu().numpy().copy()
    return found


def _temperature(value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"temperature is {value!r}: it must be at least 0")
    return value

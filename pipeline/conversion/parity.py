"""How far one model is from another on real prompts: logits, distributions, greedy continuations."""

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.conversion import Bounds
from pipeline.conversion.prompts import Prompts
from pipeline.models.base import Model
from pipeline.models.generation import stream

LOGITS_AT_ONCE = 1 << 24


class Observation(NamedTuple):
    """What a model does with some prompts."""

    logits_BTV: Tensor
    """For the whole sequences, read at once."""
    greedy_BN: Tensor
    """Continuations of the prompts to the sequences' length, decoded token by token from the model's own state."""


class Parity(NamedTuple):
    """How far a candidate is from a reference."""

    max_logit_difference: float
    kl_divergence: float
    """Mean over positions of KL(reference || candidate), in nats."""
    greedy_equal: float
    """Share of prompts whose greedy continuations are equal."""


class ParityError(RuntimeError):
    """An export that does not compute what the model does that it was made of."""


@torch.inference_mode()
def observe(model: Model, prompts: Prompts) -> Observation:
    """Run a model on the prompts; it starts without a state for the logits and with one for the decoding. A classifier decodes a class."""
    tokens_BT, given = prompts
    logits, _ = model(tokens_BT)
    if not given:
        return Observation(logits, logits.argmax(-1))
    greedy = torch.stack(list(stream(model, tokens_BT[:, :given], new_tokens=tokens_BT.shape[1] - given)), 1)
    return Observation(logits, greedy)


def compare(reference: Model, candidate: Model, prompts: Prompts) -> Parity:
    """Run both on the prompts, a part of them at a time so that the logits fit in memory."""
    logits_a_prompt = prompts.tokens_BT.shape[1] * reference.config["vocab_size"]
    parts = prompts.tokens_BT.split(max(1, LOGITS_AT_ONCE // logits_a_prompt))
    found = [(_difference(reference, candidate, Prompts(part, prompts.given)), len(part) / len(prompts.tokens_BT)) for part in parts]
    return Parity(
        max_logit_difference=max(parity.max_logit_difference for parity, _ in found),
        kl_divergence=sum(parity.kl_divergence * share for parity, share in found),
        greedy_equal=sum(parity.greedy_equal * share for parity, share in found),
    )


def _difference(reference: Model, candidate: Model, prompts: Prompts) -> Parity:
    expected, got = observe(reference, prompts), observe(candidate, prompts)
    p, q = (logits.double().log_softmax(-1) for logits in (expected.logits_BTV, got.logits_BTV))
    return Parity(
        max_logit_difference=float((expected.logits_BTV - got.logits_BTV).abs().max()),
        kl_divergence=max(0.0, float((p.exp() * (p - q)).sum(-1).mean())),  # rounding leaves an exact 0 a hair below
        greedy_equal=float((expected.greedy_BN == got.greedy_BN).all(1).double().mean()),
    )


def require(parity: Parity, bounds: Bounds, what: str) -> None:
    """Raise `ParityError` with the figures where an export is outside its format's bounds."""
    limits = bounds._asdict()
    outside = [
        f"{name} is {value:.3g} (bound {limits[name]:.3g})"
        for name, value in parity._asdict().items()
        if not (value >= limits[name] if name == "greedy_equal" else value <= limits[name])
    ]
    if outside:
        raise ParityError(f"{what} does not compute what its model does: {', '.join(outside)}")

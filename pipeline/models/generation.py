"""Sampling from any family: batched, with the family's own state, greedy at temperature 0."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.models.base import Model

NO_END = 1 << 31
"""Stands for the context of a model that can read on for ever."""


def choose(
    logits_BV: Tensor, temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Next token [B]: the likeliest at temperature 0, else one drawn from the `top_k` likeliest and the nucleus of mass `top_p`.

    `top_k` = 0 keeps all; nucleus as in Holtzman et al. 2020: the fewest likeliest tokens whose probabilities reach `top_p`.
    """
    if temperature == 0:
        return logits_BV.argmax(-1)
    logits_BV = logits_BV / temperature
    if 0 < top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -torch.inf)
    if top_p < 1:
        ordered, index = logits_BV.sort(dim=-1, descending=True, stable=True)
        probability = ordered.softmax(-1)
        ordered = ordered.masked_fill(probability.cumsum(-1) - probability >= top_p, -torch.inf)
        logits_BV = torch.empty_like(ordered).scatter_(-1, index, ordered)
    probability_BV = logits_BV.softmax(-1)
    if not bool(probability_BV.isfinite().all()):
        raise UserError("the model's logits are not finite, so nothing can be drawn from them: train it again, at a lower learning rate")
    return torch.multinomial(probability_BV, 1, generator=generator)[:, 0]


@torch.inference_mode()
def stream(
    module: Model,
    tokens_BT: Tensor,
    *,
    new_tokens: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield the next token [B] of each sequence, again and again, `new_tokens` times or for ever.

    Where the text outgrows the context, the newest half of what the model saw is read in again and the sampling goes on; a recurrent state
    outgrows nothing.
    """
    if tokens_BT.shape[1] == 0:
        raise ValueError("a prompt needs at least one token")
    context = NO_END if module.recurrent else module.context
    length = context if new_tokens is None else min(context, tokens_BT.shape[1] + new_tokens)
    tokens_BT = tokens_BT[:, -context:]
    state = module.initial_state(len(tokens_BT), length)
    logits, state = module(tokens_BT, state)
    while new_tokens is None or new_tokens > 0:
        token = choose(logits[:, -1], temperature, top_k, top_p, generator)
        yield token
        new_tokens = None if new_tokens is None else new_tokens - 1
        if new_tokens == 0:
            return
        tokens_BT = token[:, None] if module.recurrent else torch.cat((tokens_BT, token[:, None]), 1)
        if tokens_BT.shape[1] > context:
            tokens_BT = tokens_BT[:, -max(1, context // 2) :]
            logits, state = module(tokens_BT, module.initial_state(len(tokens_BT), length))
        else:
            logits, state = module(token[:, None], state)


def generate(
    module: Model,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    eos: int | None = None,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Continuations of the prompts, in their order, without the prompts; one that reaches `eos` ends with it.

    Prompts of one length run as one batch, so nothing is padded.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, prompt in enumerate(prompts):
        by_length[len(prompt)].append(i)
    results: list[list[int]] = [[] for _ in prompts]
    for _, members in sorted(by_length.items()):
        batch = torch.tensor([list(prompts[i]) for i in members], device=module.device)
        drawn = stream(module, batch, new_tokens=new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        for i, row in zip(members, _until_all_end(drawn, eos), strict=True):
            results[i] = row[: row.index(eos) + 1] if eos in row else row
    return results


def _until_all_end(drawn: Iterator[Tensor], eos: int | None) -> list[list[int]]:
    """Rows of tokens; stops drawing once every row holds `eos`."""
    columns: list[Tensor] = []
    ended: Tensor | None = None
    for token in drawn:
        columns.append(token)
        if eos is not None:
            ended = token == eos if ended is None else ended | (token == eos)
            if bool(ended.all()):
                break
    rows: list[list[int]] = torch.stack(columns, 1).tolist()
    return rows


def read(module: Model, tokens_BT: Tensor, piece: int) -> Iterator[Tensor]:
    """Logits of a text, `piece` tokens at a time; the state goes from one to the next."""
    state = None
    for part in tokens_BT.split(piece, 1):
        logits, state = module(part, state)
        yield logits

"""Named random streams: every use of chance has its own generator, derived from the one seed and the use's name.

So that adding a use never shifts another one's numbers, and the whole state can be captured and restored for an exact resume.
"""

import hashlib

import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream that `names` call, the same on every machine (SHA-256 of the seed and the names)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator at the start of the named stream."""
    return torch.Generator().manual_seed(derive(seed, *names))


def seed_global(seed: int, *names: str | int) -> None:
    """Seed torch's global generators, which dropout and initialisers draw from."""
    torch.manual_seed(derive(seed, *names))


def capture() -> dict[str, torch.Tensor]:
    """State of the global generators as uint8 tensors: the CPU's and, where this process uses CUDA, that of the current device.

    It has no index: a run may go on on another device than it began on.
    """
    state = {"cpu": torch.get_rng_state()}
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else state


def restore(state: dict[str, torch.Tensor]) -> None:
    """Put back what `capture` gave; raises `KeyError` when the CPU's state is missing."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])

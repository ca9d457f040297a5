"""The parts of the brain: modules, their connections, the phases of a token's cycle, and what they start from."""

from typing import Any, NamedTuple

MODULES = ("thalamus", "wernicke", "hippocampus", "prefrontal", "basal_ganglia", "broca")

PHASES = {
    "sensation": ("thalamus",),
    "perception": ("wernicke",),
    "integration": ("hippocampus", "prefrontal"),
    "selection": ("basal_ganglia",),
    "action": ("broca",),
}
"""What works in each phase of a token's cycle."""


class Connection(NamedTuple):
    """A learned projection; `gain` scales its first weights."""

    source: str
    target: str
    gain: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.source}_{self.target}"


CONNECTIONS = (
    Connection("thalamus", "wernicke"),
    Connection("wernicke", "prefrontal"),
    Connection("wernicke", "hippocampus"),
    Connection("hippocampus", "prefrontal", 2.0),
    Connection("prefrontal", "basal_ganglia"),
    Connection("basal_ganglia", "broca", 3.0),  # of the gates: at 1 they hardly move, whatever the ganglia say
    Connection("prefrontal", "broca"),
    Connection("prefrontal", "thalamus", 0.3),  # inhibits
    Connection("prefrontal", "wernicke", 0.7),
    Connection("prefrontal", "prefrontal"),
)

FIRST_DECAY = {"thalamus": 0.1, "wernicke": 0.3, "hippocampus": 0.3, "basal_ganglia": 0.3, "broca": 0.1}
"""A membrane's decay over an internal step at the start of training; the prefrontal cortex has its own, slow and gated."""
PREFRONTAL_DECAY = (0.3, 0.97)


def sizes(config: Any) -> dict[str, int]:
    """Neurons of each module."""
    return {name: int(config["neurons"][name]) for name in MODULES}


def steps(config: Any) -> dict[str, int]:
    """Internal steps of each module in a token's cycle."""
    return {module: int(config["phase_steps"][phase]) for phase, modules in PHASES.items() for module in modules}


def outputs(config: Any, connection: Connection) -> int:
    """Rows of a connection's matrix: the hippocampus takes keys and values, the prefrontal cortex currents and gates."""
    size = sizes(config)[connection.target]
    if connection.target == "hippocampus":
        return int(config["key_size"]) + size
    gated = connection.target == "prefrontal"
    return 2 * size if gated else size

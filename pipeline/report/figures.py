"""How a number is written: by its name, with as many digits as help."""

from typing import Any

UNITS = ("", "k", "M", "G", "T")

HIGHER_IS_BETTER = ("exact_match", "accuracy")
HEADLINES = ("exact_match", "accuracy", "bits_per_byte", "loss")
"""Which figure sums a model up: the first of these that its evaluation has."""

TITLES = {"quantized": "five levels", "kl_divergence": "KL divergence", "greedy_equal": "equal greedy texts", "bytes": "file"}
SHARES = ("exact_match", "accuracy", "share", "greedy", "answer_complete", "expression_complete", "first_operand")
"""Beginnings of the names of figures that lie between 0 and 1 and are written as percent."""

MUCH = 3.0


def headline(section: dict[str, Any]) -> str:
    """Name of the figure that sums up a section of the evaluation."""
    return next(name for name in HEADLINES if name in section)


def title(name: str) -> str:
    """A name for people: `bits_per_weight` -> `bits per weight`."""
    return TITLES.get(name, name.replace("_", " "))


def write(name: str, value: Any) -> str:
    """A figure as text: shares as percent, sizes with a unit, tiny differences with an exponent."""
    if isinstance(value, str):
        return value
    if name.endswith("bytes"):
        return size(value)
    if name.startswith(SHARES):
        return percent(value)
    if value == 0 or float(value).is_integer():
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.2f}" if abs(value) >= 10 or name.startswith(("bits", "compression")) else f"{value:.3f}"


def size(count: float) -> str:
    """Bytes in powers of 1000: `3.04 MB`."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {UNITS[unit]}B"


def percent(share: float) -> str:
    """A share; near 1 with enough digits to tell 99.95 % from 100 %, which only a share without any error is."""
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return "> 99.99 %" if text == "100" and share < 1 else f"{text} %"


def change(name: str, before: float, after: float) -> str:
    """What became of a figure: a difference in points for shares, a factor for sizes and what grew much, else percent."""
    if before == after:
        return "the same"
    if name.endswith("bytes") or name.startswith("bits_per_weight"):
        return f"÷ {before / after:.3g}"
    if name.startswith(SHARES):
        return f"{100 * (after - before):+.2f} points"
    if before and after / before >= MUCH:
        return f"× {after / before:,.{0 if after / before >= 100 else 1}f}"
    return f"{100 * (after - before) / before:+.2f} %" if before else ""

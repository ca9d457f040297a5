"""The program as text for the Pentary simulator's instruction set: one instruction a line, no loops.

Registers: P0 is always 0, P1 and P2 hold what was loaded, P3 a result, P4 a sum, P5 how many tokens there are, P7 the largest activation.
`LOAD Rd, [Rb + address]` and `STORE` read and write memory; BGT, BLT and BEQ compare a register with 0 and go to a label, a line that ends
with a colon. A digit of 0 costs nothing, 1 a load and an addition, 2 one addition more.
"""

from collections.abc import Iterator

from pipeline.conversion.processor_network import TOP, Means, Program, Sums, half


def lines(program: Program) -> Iterator[str]:
    """All lines, the last of which is HALT."""
    yield f"MOVI P7, {TOP}"
    for number, step in enumerate(program.steps):
        yield from _means(step, f"S{number}") if isinstance(step, Means) else _sums(step, f"S{number}")
    yield "HALT"


def _sums(step: Sums, label: str) -> Iterator[str]:
    digits = step.digits_RK.tolist()
    places = [step.addresses(segment).tolist() for segment in step.segments]
    positions = len(places[0])
    for row, columns in enumerate(digits):
        for position in range(positions):
            yield "MOVI P3, 0"
            first = 0
            for segment, addresses in zip(step.segments, places, strict=True):
                own = columns[first : first + segment.length]
                yield from _sum(own, addresses[min(position, len(addresses) - 1)])
                yield f"MULI P4, P4, {int(segment.multiplier_R[row])}"
                yield f"ADDI P4, P4, {int(segment.offset_R[row])}"
                if segment.flag is not None:
                    yield f"LOAD P1, [P0 + {segment.flag}]"
                    yield "MUL P4, P4, P1"
                yield "ADD P3, P3, P4"
                first += segment.length
            if step.ending != "logits":
                yield from _activation(step.shift, step.ending == "signed", f"{label}R{row}P{position}")
            yield f"STORE P3, [P0 + {step.target + row * positions + position}]"


def _sum(digits: list[int], addresses: list[int]) -> Iterator[str]:
    """P4 becomes the sum of digits times what lies at the addresses."""
    yield "MOVI P4, 0"
    for digit, address in zip(digits, addresses, strict=False):
        if digit:
            yield f"LOAD P1, [P0 + {address}]"
            if abs(digit) == 2:
                yield "ADD P1, P1, P1"
            yield f"{'ADD' if digit > 0 else 'SUB'} P4, P4, P1"


def _activation(shift: int, signed: bool, label: str) -> Iterator[str]:
    """P3 becomes an activation: not below 0 (signed: not below -`TOP`), divided and rounded, not above `TOP`."""
    if signed:
        yield f"ADDI P3, P3, {TOP * 2**shift}"
    yield f"BGT P3, {label}A"
    yield "MOVI P3, 0"
    yield f"{label}A:"
    if shift:
        yield f"ADDI P3, P3, {half(shift)}"
        yield f"DIVI P3, P3, {2**shift}"
    if signed:
        yield "SUB P3, P3, P7"
    yield "SUB P4, P3, P7"
    yield f"BLT P4, {label}B"
    yield "MOV P3, P7"
    yield f"{label}B:"


def _means(step: Means, label: str) -> Iterator[str]:
    """Counts the tokens; then for each channel loads the rows that the tokens name, token 0 being no token."""
    width = step.table_VD.shape[1]
    yield "MOVI P5, 0"
    for token in range(step.tokens):
        yield f"LOAD P1, [P0 + {step.source + token}]"
        yield f"BEQ P1, {label}T{token}"
        yield "ADDI P5, P5, 1"
        yield f"{label}T{token}:"
    for channel in range(width):
        yield "MOVI P4, 0"
        for token in range(step.tokens):
            yield f"LOAD P2, [P0 + {step.source + token}]"
            yield f"MULI P2, P2, {width}"
            yield f"LOAD P1, [P2 + {step.table + channel}]"
            yield "ADD P4, P4, P1"
        yield "MOVI P3, 0"
        yield f"BEQ P5, {label}C{channel}"
        yield "ADD P4, P4, P4"
        yield f"MULI P3, P5, {2 * TOP + 1}"
        yield "ADD P3, P3, P4"
        yield "ADD P4, P5, P5"
        yield "DIV P3, P3, P4"
        yield f"ADDI P3, P3, {-TOP}"
        yield f"{label}C{channel}:"
        yield f"STORE P3, [P0 + {step.target + channel}]"

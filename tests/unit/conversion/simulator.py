"""A small reference interpreter of the Pentary simulator's instruction set, as far as straight-line programs go."""

from collections.abc import Mapping, Sequence

REGISTERS = 32
WORD = (5**16 - 1) // 2


class Simulator:
    """Registers P0 (always 0) to P31 and a memory of whole numbers, none of which may leave the 16 digits of a word."""

    def __init__(self, program: str, memory: Sequence[int]) -> None:
        lines = program.splitlines()
        self.memory, self.registers, self.executed = list(memory), [0] * REGISTERS, 0
        self.labels: dict[str, int] = {}
        self.instructions: list[list[str]] = []
        for line in lines:
            if line.endswith(":"):
                assert line[:-1] == line[:-1].upper() and line[:-1] not in self.labels
                self.labels[line[:-1]] = len(self.instructions)
            else:
                self.instructions.append(line.replace(",", "").replace("[", "").replace("]", "").replace("+ ", "").split())

    def run(self) -> None:
        place = 0
        while self.instructions[place] != ["HALT"]:
            name, *operands = self.instructions[place]
            self.executed += 1
            place = getattr(self, f"_{name.lower()}")(place, *operands)

    def _get(self, name: str) -> int:
        return self.registers[int(name[1:])]

    def _set(self, name: str, value: int, place: int) -> int:
        assert name != "P0" and abs(value) <= WORD, (name, value)
        self.registers[int(name[1:])] = value
        return place + 1

    def _movi(self, place: int, target: str, value: str) -> int:
        return self._set(target, int(value), place)

    def _mov(self, place: int, target: str, source: str) -> int:
        return self._set(target, self._get(source), place)

    def _load(self, place: int, target: str, base: str, offset: str) -> int:
        return self._set(target, self.memory[self._get(base) + int(offset)], place)

    def _store(self, place: int, source: str, base: str, offset: str) -> int:
        self.memory[self._get(base) + int(offset)] = self._get(source)
        return place + 1

    def _add(self, place: int, target: str, left: str, right: str) -> int:
        return self._set(target, self._get(left) + self._get(right), place)

    def _sub(self, place: int, target: str, left: str, right: str) -> int:
        return self._set(target, self._get(left) - self._get(right), place)

    def _mul(self, place: int, target: str, left: str, right: str) -> int:
        return self._set(target, self._get(left) * self._get(right), place)

    def _div(self, place: int, target: str, left: str, right: str) -> int:
        return self._divide(place, target, self._get(left), self._get(right))

    def _addi(self, place: int, target: str, left: str, right: str) -> int:
        return self._set(target, self._get(left) + int(right), place)

    def _muli(self, place: int, target: str, left: str, right: str) -> int:
        return self._set(target, self._get(left) * int(right), place)

    def _divi(self, place: int, target: str, left: str, right: str) -> int:
        return self._divide(place, target, self._get(left), int(right))

    def _divide(self, place: int, target: str, left: int, right: int) -> int:
        assert left >= 0 and right > 0, "what the simulator's division rounds to is open for negative numbers"
        return self._set(target, left // right, place)

    def _bgt(self, place: int, register: str, label: str) -> int:
        return self.labels[label] if self._get(register) > 0 else place + 1

    def _blt(self, place: int, register: str, label: str) -> int:
        return self.labels[label] if self._get(register) < 0 else place + 1

    def _beq(self, place: int, register: str, label: str) -> int:
        return self.labels[label] if self._get(register) == 0 else place + 1


def memory(size: int, regions: Mapping[int, Sequence[int]]) -> list[int]:
    """A memory of zeros with numbers from some addresses on."""
    found = [0] * size
    for address, numbers in regions.items():
        found[address : address + len(numbers)] = numbers
    return found

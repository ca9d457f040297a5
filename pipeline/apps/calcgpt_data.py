"""CalcGPT's data functions: equations from a file, augmentation, vocabulary, and a data set for a training loop of one's own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data import splits, tokenizers
from pipeline.data.arithmetic import Codec, codec_for, group, parse, value
from pipeline.data.arithmetic.equations import Equation
from pipeline.data.tokenizers import END_OF_TEXT
from pipeline.errors import UserError
from pipeline.schema.data import ArithmeticDataset, Split

UNSCORED = -100
"""Label of a position that no loss is taken on, as `torch.nn.CrossEntropyLoss` has it."""
COMMUTATIVE = ("+", "*")


def load_dataset(path: str | Path) -> list[str]:
    """The equations of a text file, one a line such as `12+34=46`, without spaces; empty lines are passed over.

    Raises `UserError` naming file and line of what cannot be read, has no answer, or is not true.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: name a text file with one equation a line, such as 12+34=46") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): name a text file with one equation a line") from None
    examples = [_checked(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not examples:
        raise UserError(f"{path} has no equations: write one a line, such as 12+34=46")
    return examples


def _checked(line: str, place: str) -> str:
    try:
        equation = parse(line)
        answer = value(equation.operands, equation.operators)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    except ZeroDivisionError:
        raise UserError(f"{place}: {line.strip()!r} divides by zero: take it out") from None
    if not equation.operators or equation.answer is None:
        raise UserError(f"{place}: {line.strip()!r} is not a whole equation: write it as in 12+34=46")
    if equation.answer != answer:
        raise UserError(f"{place}: {line.strip()!r} is not true, since {equation.problem} is {answer}: correct it or take it out")
    return f"{equation.problem}={answer}"


def augment_data(examples: Sequence[str]) -> list[str]:
    """The examples, then each sum or product of two numbers with its operands exchanged, where that is not there yet.

    O(n) for n examples.
    """
    augmented = dict.fromkeys(examples)
    for example in examples:
        equation = parse(example)
        if len(equation.operands) == 2 and equation.operators[0] in COMMUTATIVE:
            mirror = Equation(equation.operands[::-1], equation.operators)
            augmented.setdefault(f"{mirror.problem}={equation.answer}")
    return list(augmented)


def split_data(examples: Sequence[str], test_split: float, seed: int) -> dict[str, list[str]]:
    """`train` and `validation`: all equations of the same operands, in any order, are on one side, so that no mirror image leaks.

    Raises `UserError` where that leaves nothing to train on.
    """
    groups = [group(parse(example).operands) for example in examples]
    share = Split(method="documents", validation=test_split, test=0.0)
    chosen = splits.by_size(seed, Counter(groups), share)
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for example, name in zip(examples, groups, strict=True):
        parts[chosen[name]].append(example)
    if not parts["train"]:
        raise UserError(f"{len(examples)} equations on the same operands cannot be split: add equations on other numbers")
    return parts


def codec_of(examples: Sequence[str]) -> Codec:
    """The codec for all problems with the examples' operators and in their range; `UserError` where some have more operands than others."""
    equations = [parse(example) for example in examples]
    operators = sorted({operator for equation in equations for operator in equation.operators})
    counts = sorted({len(equation.operands) for equation in equations})
    if len(counts) > 1:
        odd = next(example for example, equation in zip(examples, equations, strict=True) if len(equation.operands) != counts[0])
        raise UserError(f"{odd!r} has not {counts[0]} operands as other equations have: train on equations of one length at a time")
    numbers = [operand for equation in equations for operand in equation.operands]
    negative = any((equation.answer or 0) < 0 for equation in equations)
    domain = {"operators": operators, "operands": counts[0], "minimum": min(numbers), "maximum": max(numbers), "negative_results": negative}
    return codec_for(ArithmeticDataset.model_validate({"kind": "arithmetic", **domain}))


def create_vocab(examples: Sequence[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Character -> id and id -> character, over the characters of the examples and the end-of-text token, which has the last id."""
    vocab = tokenizers.characters("".join(examples)).backend.get_vocab()
    id2char = {id: char for char, id in sorted(vocab.items(), key=lambda item: item[1])}
    return {char: id for id, char in id2char.items()}, id2char


class OptimizedDataset(Dataset[dict[str, Tensor]]):
    """Examples as rows of characters, tokenized once: `input_ids` and `labels`, int64 [examples, maxlen].

    A row is the equation, the end-of-text token, and padding with that token. Labels stand beside their own tokens (so position t is
    trained on label t + 1); those of the problem and of the padding are -100, since the problem's digits are chance.
    """

    def __init__(self, examples: Sequence[str], maxlen: int, vocab: Mapping[str, int]) -> None:
        """Raises `UserError` for an example that does not fit `maxlen` or `vocab` (as `create_vocab` makes it)."""
        tokenizer = tokenizers.characters(char for char in vocab if char != END_OF_TEXT)
        if tokenizer.backend.get_vocab() != dict(vocab):
            raise UserError("this vocabulary was not made by create_vocab: characters in order, then the end-of-text token")
        self.input_ids = torch.full((len(examples), maxlen), tokenizer.eos)
        self.labels = torch.full((len(examples), maxlen), UNSCORED)
        for i, (example, ids) in enumerate(zip(examples, tokenizer.encode_batch(examples), strict=True)):
            if len(ids) >= maxlen:
                raise UserError(f"{example!r} and its end take {len(ids) + 1} tokens, but maxlen is {maxlen}: raise it")
            row, answer = torch.from_numpy(ids), example.index("=") + 1
            self.input_ids[i, : len(ids)] = row
            self.labels[i, answer : len(ids)] = row[answer:]
            self.labels[i, len(ids)] = tokenizer.eos

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}

"""Equations, their labels, and their generation."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.data.arithmetic import Labels, generate, group, labels, parse, value
from pipeline.data.arithmetic.generation import answer_range
from pipeline.errors import UserError
from pipeline.schema.data import ArithmeticDataset

OPERATORS = st.sampled_from(["+", "-", "*", "//"])


def block(**changes: object) -> ArithmeticDataset:
    return ArithmeticDataset(kind="arithmetic", **changes)


# Equations


@given(st.lists(st.integers(-999, 999), min_size=2, max_size=5), st.data())
def test_value_is_pythons_and_text_reads_back(operands: list[int], data: st.DataObject) -> None:
    operators = data.draw(st.lists(OPERATORS, min_size=len(operands) - 1, max_size=len(operands) - 1))
    text = f"{operands[0]}" + "".join(f"{operator}{operand}" for operator, operand in zip(operators, operands[1:], strict=True))
    equation = parse(text)
    assert (equation.operands, equation.operators, equation.problem) == (tuple(operands), tuple(operators), text)
    try:
        expected = eval(text)  # the text is digits and operators that this test made
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            value(operands, operators)
    else:
        assert value(operands, operators) == expected


def carries_by_hand(x: int, y: int) -> int:
    carry = count = 0
    while x or y or carry:
        carry = int(x % 10 + y % 10 + carry >= 10)
        count += carry
        x, y = x // 10, y // 10
    return count


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_carries_of_a_sum_and_borrows_of_a_difference(x: int, y: int) -> None:
    assert labels(f"{x}+{y}").carries == carries_by_hand(x, y)
    assert labels(f"{x + y}-{x}").carries == carries_by_hand(x, y)
    assert labels(f"{x}-{x + y}").carries == carries_by_hand(x, y)
    assert labels(f"{x}+{y}={x + y}") == Labels("+", max(len(str(x)), len(str(y))), carries_by_hand(x, y))


def test_amount_carried_of_products_and_quotients() -> None:
    assert labels("12*34") == Labels("*", 2, 1)  # 8, 10 with 1 carried, 4
    assert labels("99*9").carries == 16  # 81: 8 carried; 81 + 8: 8 carried
    assert labels("408//12").carries == labels("12*34").carries
    assert labels("1+2*3-4//2").operator == "+ - * //"


def test_group_is_that_of_the_mirror_image_and_of_the_difference() -> None:
    assert group((3, 12)) == group((12, 3)) == "3,12"
    assert group((1, 23)) != group((12, 3))


# Generation


def test_default_is_every_sum_and_difference() -> None:
    equations = list(generate(block(), 1))
    assert len(equations) == len(set(equations)) == 2 * 101 * 101
    assert equations[:3] == ["0+0=0", "0-0=0", "0+1=1"]
    assert "3-100=-97" in equations
    assert all(eval(left) == int(right) for left, right in (text.split("=") for text in equations))


def test_without_negative_results_it_is_calcgpts_data_set() -> None:
    equations = list(generate(block(negative_results=False), 1))
    assert Counter(re.search(r"\d([+-])", text)[1] for text in equations) == {"+": 10_201, "-": 5_151}


def test_allowed_digits_hold_for_operands_and_answers() -> None:
    equations = list(generate(block(allowed_digits="15", operators=["+", "*"]), 1))
    assert set("".join(equations)) <= set("15+*=")
    assert "1*5=5" in equations and "1+1=2" not in equations


@pytest.mark.parametrize("changes", [{"operators": ["//"]}, {"operators": ["*", "//"], "minimum": -5, "maximum": 5, "operands": 3}])
def test_division_is_floored_and_never_by_zero(changes: dict) -> None:
    equations = list(generate(block(maximum=12) if not changes else block(**({"maximum": 12} | changes)), 1))
    assert all(eval(left) == int(right) for left, right in (text.split("=") for text in equations))
    assert not any(re.search(r"//0", text) for text in equations)


BALANCED = {"sampling": "balanced", "examples": 1500}


@pytest.mark.parametrize(
    "changes",
    [
        {"maximum": 10**10 - 1, "operators": ["+"]},
        {"minimum": -9999, "maximum": 9999},
        {"maximum": 999, "operators": ["+", "-", "*", "//"]},
        {"maximum": 9999, "operands": 4, "negative_results": False},
        {"maximum": 99999, "allowed_digits": "01234", "operators": ["+"]},
    ],
)
def test_balanced_samples_are_right_different_and_within_range(changes: dict) -> None:
    chosen = block(**BALANCED, **changes)
    equations = list(generate(chosen, 5))
    assert len(set(equations)) == len(equations) == 1500
    assert equations == list(generate(chosen, 5)) != list(generate(chosen, 6))
    for text in equations:
        equation = parse(text)
        assert value(equation.operands, equation.operators) == equation.answer
        assert all(chosen.minimum <= operand <= chosen.maximum for operand in equation.operands)
        assert set("".join(re.findall(r"\d", text))) <= set(chosen.allowed_digits)
        assert chosen.negative_results or equation.answer >= 0


def test_lengths_and_carries_are_balanced_where_uniform_draws_are_not() -> None:
    kinds = [labels(text) for text in generate(block(**BALANCED, maximum=10**10 - 1, operators=["+"]), 1)]
    by_length = Counter(kind.digits for kind in kinds)
    assert sorted(by_length) == list(range(1, 11))
    assert max(by_length[length] for length in range(2, 11)) - min(by_length[length] for length in range(2, 11)) <= 1
    assert by_length[1] >= 80  # there are only a hundred
    by_carries = Counter(kind.carries for kind in kinds if kind.digits == 6)
    assert set(by_carries) == set(range(7))
    assert max(by_carries.values()) - min(by_carries.values()) <= 1


def test_cost_of_balanced_sampling_grows_as_the_number_of_examples() -> None:
    """Counted in draws, not in seconds: twice the examples take about twice the draws."""
    from pipeline.data.arithmetic import balanced

    def draws(examples: int) -> int:
        count = 0
        original = balanced._draw

        def counted(*arguments: object) -> str | None:
            nonlocal count
            count += 1
            return original(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(balanced, "_draw", counted)
            assert len(list(generate(block(sampling="balanced", examples=examples, maximum=10**6), 1))) == examples
        return count

    assert draws(2000) < 2.2 * draws(1000)


def test_more_examples_than_there_are() -> None:
    with pytest.raises(UserError, match=r"examples = 300, but only \d+ different equations were found: lower it"):
        list(generate(block(sampling="balanced", examples=300, maximum=9, operators=["+"]), 1))


def test_a_range_without_an_allowed_number() -> None:
    with pytest.raises(UserError, match=r"no equation has operands 20\.\.29 and digits 13: widen either"):
        list(generate(block(minimum=20, maximum=29, allowed_digits="13"), 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minimum": 5, "maximum": 4}, "minimum (5) is above maximum (4)"),
        ({"operators": ["+", "+"]}, "names one twice"),
        ({"operators": ["/"]}, "'+', '-', '*' or '//'"),
        ({"operands": 9}, "less than or equal to 8"),
        ({"allowed_digits": "1a"}, "pattern"),
        ({"sampling": "balanced"}, "needs examples"),
        ({"examples": 5}, "needs examples"),
        ({"maximum": 9999}, "200000000 equations"),
        ({"maximum": 100_000}, "sampling: balanced"),
        ({"split": {"method": "contiguous"}}, "must not be torn apart"),
    ],
)
def test_impossible_blocks_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        block(**changes)


# Answers fit the columns


@given(
    st.lists(OPERATORS, min_size=1, max_size=4, unique=True),
    st.integers(-4, 3),
    st.integers(0, 4),
    st.integers(2, 3),
)
def test_answer_range_holds_every_answer(operators: list[str], minimum: int, width: int, operands: int) -> None:
    maximum = minimum + width
    low, high = answer_range(operators, minimum, maximum, operands)
    for numbers in itertools.product(range(minimum, maximum + 1), repeat=operands):
        for signs in itertools.product(operators, repeat=operands - 1):
            try:
                assert low <= value(numbers, signs) <= high
            except ZeroDivisionError:
                continue


def test_answer_range_is_tight_for_sums_and_differences() -> None:
    assert answer_range(["+"], 0, 100, 2) == (0, 200)
    assert answer_range(["+", "-"], 0, 100, 2) == (-100, 200)
    assert answer_range(["-"], -5, 10, 3) == (-25, 20)
    assert answer_range(["+", "*"], 1, 9, 3) == (1, 729)

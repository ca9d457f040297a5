import math

import numpy as np
import pytest

from pipeline.data import shards
from pipeline.data.arithmetic import Codec, labels, parse, value
from pipeline.errors import UserError
from pipeline.evaluation.arithmetic import Judge
from pipeline.evaluation.intervals import wilson
from pipeline.schema.models import Evaluation
from tests.unit.evaluation.toys import Calculator

CODEC = Codec(("+", "-"), 2, 0, 99, -99, 198)
TEST = ["12+34=46", "7+5=12", "99+99=198", "3-10=-7", "58-8=50", "19+19=38", "40+40=80", "8-8=0"]


@pytest.fixture
def ready(tmp_path):
    shards.write(tmp_path / "train.safetensors", {"tokens": CODEC.encode_rows(["1+1=2", "3-1=2", "0+0=0"])})
    shards.write(tmp_path / "test.safetensors", {"tokens": CODEC.encode_rows(TEST)})
    return tmp_path


@pytest.fixture
def judge(ready):
    return Judge({"quintet": {"task": "arithmetic", "codec": CODEC.to_dict()}}, ready, Evaluation(batch_size=3), 1)


def solve(begin):
    """The true equation that begins so; what is missing becomes `+0`."""
    equation = parse(begin)
    operands, operators = [*equation.operands, 0][:2], [*equation.operators, "+"][:1]
    return f"{operands[0]}{operators[0]}{operands[1]}={value(operands, operators)}"


def forget_carries(begin):
    """Is wrong, by one, wherever something is carried."""
    text = solve(begin)
    problem, answer = text.split("=")
    return f"{problem}={int(answer) - 1}" if labels(text).carries else text


def test_a_model_that_can_add_is_right_everywhere(judge):
    figures = judge.verdict(Calculator(CODEC, solve)).figures
    assert figures["exact_match"] == 1.0
    assert (figures["exact_match_low"], figures["exact_match_high"]) == wilson(len(TEST), len(TEST))
    assert figures["problems"] == len(TEST)
    assert figures["test_types"] == {"answer_complete": 1.0, "expression_complete": 1.0, "first_operand_self_consistency": 1.0}


def test_loss_is_over_answer_and_end(judge):
    model = Calculator(CODEC, solve, sharpness=2.0)
    certain = math.exp(2.0) / (math.exp(2.0) + CODEC.vocab_size - 1)
    assert judge.verdict(model).figures["loss"] == pytest.approx(-math.log(certain))


def test_errors_are_counted_in_the_right_rows(judge):
    verdict = judge.verdict(Calculator(CODEC, forget_carries))
    wrong = [text for text in TEST if labels(text).carries]
    assert 0 < len(wrong) < len(TEST)
    assert verdict.figures["exact_match"] == 1 - len(wrong) / len(TEST)
    assert [answer.equation for answer in verdict.detail if not answer.right] == wrong
    table = judge.table({"float": verdict})
    assert sum(row["problems"] for row in table) == len(TEST)
    assert all(row["float"] == (row["carries"] == 0) for row in table)
    assert {(row["operator"], row["digits"]) for row in table} == {(labels(text).operator, labels(text).digits) for text in TEST}
    first = table[0]
    assert (first["float_low"], first["float_high"]) == wilson(round(first["float"] * first["problems"]), first["problems"])


def test_a_true_equation_about_something_else_is_not_right(judge):
    """`2+2=4` is no answer to `1+1=`; only self-consistency, which is asked without a problem, accepts it."""
    figures = judge.verdict(Calculator(CODEC, lambda begin: "2+2=4")).figures
    assert figures["exact_match"] == 0.0
    assert figures["test_types"]["expression_complete"] == 0.0


def test_self_consistency_needs_a_true_equation(judge):

    def lie(begin):
        """Makes up sums with 1, which the split does not ask for, and gets those wrong."""
        first, second = [*parse(begin).operands, 1][:2]
        return f"{first}+1={first}" if second == 1 else solve(begin)

    figures = judge.verdict(Calculator(CODEC, lie)).figures
    assert figures["exact_match"] == 1.0
    assert figures["test_types"]["first_operand_self_consistency"] == 0.0


def test_an_answer_without_its_end_is_wrong(judge):
    model = Calculator(CODEC, solve)
    model.codec = CODEC
    logits = model.logits

    def endless(seen):
        out = logits(seen)
        out[..., CODEC.eos] = -1.0
        return out

    model.logits = endless
    assert judge.verdict(model).figures["exact_match"] == 0.0


def test_a_limit_takes_problems_from_the_whole_split(ready):
    limited = Judge({"quintet": {"task": "arithmetic", "codec": CODEC.to_dict()}}, ready, Evaluation(problems=2), 1)
    assert limited.equations == [TEST[0], TEST[-1]]


def test_baseline_is_the_most_frequent_answer(judge, ready):
    shards.write(ready / "train.safetensors", {"tokens": CODEC.encode_rows(["6+6=12", "20-8=12", "0+0=0"])})
    assert judge.baselines() == {"most_frequent_answer": {"exact_match": 1 / len(TEST)}}


def test_samples_mark_right_and_wrong(ready):
    judge = Judge({"quintet": {"task": "arithmetic", "codec": CODEC.to_dict()}}, ready, Evaluation(prompt="9+4="), 1)
    model = Calculator(CODEC, forget_carries)
    lines = judge.samples({"float": (model, judge.verdict(model))}).splitlines()
    assert lines[:2] == ["=== float ===", "9+4=12"]
    assert "right  12+34=46" in lines
    assert "wrong  7+5=11 (it is 12)" in lines
    assert len(lines) == 3 + len(TEST), "no problem is listed twice"


def test_an_unreadable_prompt_is_an_error_that_names_it(ready):
    with pytest.raises(UserError, match=r"evaluation\.prompt = '12%3=': .*'%'"):
        Judge({"quintet": {"task": "arithmetic", "codec": CODEC.to_dict()}}, ready, Evaluation(prompt="12%3="), 1)


def test_order_of_the_split_does_not_depend_on_batches(judge):
    answers = judge.solve(Calculator(CODEC, solve))
    assert [answer.equation for answer in answers] == TEST
    assert np.all([answer.right for answer in answers])

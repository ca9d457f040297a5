import importlib

import pytest

from pipeline import conversion
from pipeline.apps import formats
from pipeline.config import load, parse
from pipeline.errors import UserError
from pipeline.schema.families import FAMILIES
from pipeline.schema.formats import FORMATS, Format, refusal
from tests.workspace import PROJECT


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_file_with_the_whole_protocol(name):
    module = importlib.import_module(f"pipeline.conversion.{name}")
    assert callable(module.export)
    assert callable(module.load)
    assert isinstance(module.WEIGHTS, str)
    assert module.BOUNDS.max_logit_difference > 0


@pytest.mark.parametrize("name", FORMATS)
def test_every_family_is_supported_or_refused_with_a_reason(name):
    for family in FAMILIES:
        supported = family in FORMATS[name].families
        assert (refusal(family, name) is None) == supported
    assert FORMATS[name].otherwise


def test_unknown_format_names_its_neighbour():
    with pytest.raises(UserError, match=r"there is no format 'onxx': did you mean 'onnx'\?"):
        conversion.converter("transformer", "onxx")


def test_unknown_format_lists_what_there_is():
    with pytest.raises(UserError, match="there is no format 'zip': choose from huggingface, huggingface_packed, safetensors, onnx"):
        conversion.converter("transformer", "zip")


def test_refused_pair_says_why_and_what_works(monkeypatch):
    monkeypatch.setitem(FORMATS, "cards", Format("holes", {"abacus": "looms"}, "cards have no room for them"))
    with pytest.raises(
        UserError, match="a transformer model cannot be written as cards, because cards have no room for them: choose from huggingface"
    ):
        conversion.converter("transformer", "cards")


def test_readme_has_the_table():
    """Family x format: where it runs, container only, or refused and why."""
    assert f"<!-- formats -->\n{formats.markdown()}<!-- /formats -->\n" in (PROJECT / "README.md").read_text()


def test_every_cell_of_the_table_leads_to_its_sentence():
    numbered = formats.notes()
    for (name, _, *cells), form in zip(formats.lines(numbered)[1:], FORMATS.values(), strict=True):
        for family, cell in zip(FAMILIES, cells, strict=True):
            word, number = cell.rstrip(")").split(" (")
            note = numbered[int(number) - 1]
            assert (word == "–") == (refusal(family, name) is not None)
            assert note.removeprefix("refused: ") in (form.otherwise, form.families.get(family, "").removeprefix("container only: "))


def test_table_for_a_terminal_has_every_sentence(capsys):
    formats.show(as_markdown=False)
    said = " ".join(capsys.readouterr().out.split())
    assert all(note.replace("`", "") in said for note in formats.notes())


def test_family_without_any_format_is_told_to_leave_them_empty():
    assert refusal("abacus", "onnx").endswith("leave its formats empty")


def test_parameters_stop_before_any_work(monkeypatch):
    monkeypatch.setitem(FORMATS, "cards", Format("holes", {}, "cards have no room for them"))
    data = load().model_dump(mode="json")
    for names, sentence in (
        (["cards"], "models.calculator.formats: a transformer model cannot be written as cards"),
        (["onx"], "no format 'onx'"),
    ):
        data["models"]["calculator"]["formats"] = names
        with pytest.raises(UserError, match=sentence):
            parse(data, "params.yaml")

"""The NumPy program's own tokenizers, against the library's."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import conversion, models, quantization
from pipeline.conversion import numpy_program, weights
from pipeline.data import tokenizers
from pipeline.models.generation import generate
from pipeline.quantization import storage
from tests.unit.models import tiny

TEXT = "We've seen 12 ships; they'll come at 3.50 o'clock\u2026  \n\tDon't wait \u2013 wei\u00df, \u6f22\u5b57!\r\n" * 8
TOKENIZER = tokenizers.byte_pairs([TEXT], 340)


def described(tokenizer):
    return json.loads(tokenizer.backend.to_str())["model"]


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cn"]))
    | st.text(" \t\n'sdlrevtm1\u00b2\u00bdaZ\u00df\u6f22.,-\x85\xa0\x1c\u2028", max_size=40)
)
def test_byte_pairs_are_the_library_s(text):
    program = numpy_program.BytePairs(described(TOKENIZER))
    ids = TOKENIZER.encode(text)
    assert program.encode(text) == ids
    assert program.decode(ids) == text == "".join(numpy_program.words(text))


def test_bytes_of_half_a_character_are_shown_as_such():
    program = numpy_program.BytePairs(described(TOKENIZER))
    assert program.decode([TOKENIZER.encode("\u20ac")[0]]) == "\ufffd"


@pytest.mark.slow
def test_the_program_goes_on_from_text_by_byte_pairs(tmp_path):
    """In isolated mode: nothing of this project can be imported."""
    source, target = tmp_path / "source", tmp_path / "numpy"
    source.mkdir(), target.mkdir()
    module = models.create(tiny.config(TOKENIZER.vocab_size, max_position_embeddings=32), seed=3).eval()
    packed = quantization.quantize(module.quantizable(), "model")
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    config = {**module.config, "quantization_config": storage.describe(packed)}
    models.save(storage.tensors_of(packed, others), config, source / "model.safetensors", source / "config.json")
    TOKENIZER.save(source / "tokenizer.json", source / "tokenizer_config.json")
    converter = conversion.converter("transformer", "numpy")
    converter.export(weights.dense(source), conversion.Source("tiny", source, source), target)
    ids = TOKENIZER.encode("We've seen")
    drawn = generate(quantization.load(source), [ids], 6, eos=TOKENIZER.eos)[0]
    done = subprocess.run([sys.executable, "-I", target / "run.py", "We've seen", "6"], capture_output=True, text=True, encoding="utf-8")
    assert done.stderr == "" and done.stdout == TOKENIZER.decode([*ids, *(id for id in drawn if id != TOKENIZER.eos)]) + "\n"
    done = subprocess.run([sys.executable, "-I", target / "run.py", "x y " * 40], capture_output=True, text=True)
    assert done.returncode == 1 and "but the model sees at most 32" in done.stderr

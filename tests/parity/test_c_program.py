"""The C export: compiled by itself it writes what the quantized model writes, and nothing but numbers reaches a compiler."""

import shutil
import subprocess

import pytest
import torch

from pipeline import conversion, quantization
from pipeline.conversion import c
from pipeline.data import tokenizers
from pipeline.errors import UserError
from pipeline.models.generation import generate
from pipeline.quantization import storage
from tests.parity import small_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]
PROMPTS = {"writer": "Der W", "adder": "30+40="}


@pytest.mark.parametrize("name", small_project.MODELS)
def test_the_program_alone_writes_what_the_model_writes(project, tmp_path, name):
    folder = shutil.copytree(project / f"exports/{name}/c", tmp_path / "copy")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["cc", *strict, "-O2", "run.c", "-lm", "-o", "run"], cwd=folder, check=True)
    model, tokenizer = quantization.load(project / "quantized" / name), tokenizers.load(folder)
    drawn = generate(model, [tokenizer.encode(PROMPTS[name])], 8, eos=tokenizer.eos)[0]
    expected = PROMPTS[name] + tokenizer.decode(id for id in drawn if id != tokenizer.eos)
    done = subprocess.run([folder / "run", PROMPTS[name], "8"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (expected + "\n", "", 0)
    unknown = subprocess.run([folder / "run", "€"], capture_output=True, text=True)
    assert unknown.returncode == 1 and unknown.stderr.startswith("the model cannot read this text")


@pytest.mark.parametrize(("batch", "sequence", "past"), [(1, 1, 0), (3, 6, 9), (1, 1, 23)])
@pytest.mark.parametrize("name", small_project.MODELS)
def test_logits_with_any_batch_length_and_past(project, name, batch, sequence, past):
    own, model = quantization.load(project / "quantized" / name), c.load(project / f"exports/{name}/c")
    tokens = torch.randint(0, own.config["vocab_size"], (batch, past + sequence), generator=torch.Generator().manual_seed(5))
    state = model(tokens[:, :past])[1] if past else None
    with torch.no_grad():
        assert torch.allclose(model(tokens[:, past:], state)[0], own(tokens)[0][:, past:], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="do not fit the context"):
        model(torch.zeros(1, model.context + 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="tokens must lie in 0"):
        model(torch.full((1, 1), own.config["vocab_size"]))


def test_bytes_are_a_third_of_the_digits(project):
    """Three digits of five levels a byte: what the header spells is 2.67 bits a weight."""
    rows, columns = storage.read(project / "quantized/adder")[1]["lm_head.weight"].digits().shape
    text = (project / "exports/adder/c/model.h").read_text()
    assert f"codes_8[{rows * -(-columns // 3)}]" in text and f"{{{rows},{columns},5,1,codes_8,scale_8}}" in text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("#define LAYERS 1", "#define LAYERS 2"),
        lambda text: text.replace("#define CONTEXT 24", "#define CONTEXT 24\n#include <stdio.h>"),
        lambda text: text.replace("{", "{1,", 1),
        lambda text: text.replace(",5,1,codes_1,", ",7,1,codes_1,"),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("static const float vector_0[", "static const float vector_9["),
    ],
)
def test_a_header_that_is_not_ours_is_not_compiled(project, tmp_path, monkeypatch, change):
    folder = shutil.copytree(project / "exports/adder/c", tmp_path / "copy")
    text = (folder / "model.h").read_text()
    assert change(text) != text
    (folder / "model.h").write_text(change(text))
    monkeypatch.setattr(c.subprocess, "run", lambda *_, **__: pytest.fail("compiled"))
    with pytest.raises(UserError, match=r"copy/model\.h is not what this version writes"):
        c.load(folder)


def test_another_program_is_not_compiled_and_a_compiler_is_needed(project, tmp_path, monkeypatch):
    folder = shutil.copytree(project / "exports/adder/c", tmp_path / "copy")
    monkeypatch.setattr(c.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no C compiler here to run the format `c` with: install gcc"):
        conversion.read("transformer", "c", folder)
    (folder / "run.c").write_text("int main(void) { return 0; }")
    with pytest.raises(UserError, match=r"run\.c is not what this version writes"):
        conversion.read("transformer", "c", folder)

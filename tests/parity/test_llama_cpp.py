"""GGUF in llama.cpp itself, by `llama-cpp-python`, which pip builds from its source package in a quarter of an hour: for `make test-full`.

LLAMA_CPP_PYTHON may name a folder that has the package already.
"""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.conversion import weights
from pipeline.data import tokenizers
from pipeline.models.generation import generate
from tests.parity import small_project

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.xdist_group("parity")]

VERSION = "0.3.36"
BOUNDS = {"gguf": 0.01, "gguf_packed": 0.2}
"""Of the largest logit difference, in standard deviations of the logits: llama.cpp rounds activations to float16, or to 8 bits."""
PROMPTS = {"writer": "Der Mann – weiß", "adder": "30+40="}


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """The package, installed into a folder of its own."""
    folder = os.environ.get("LLAMA_CPP_PYTHON")
    if folder is None:
        folder = str(tmp_path_factory.mktemp("llama"))
        what = ["--no-binary", "llama-cpp-python", f"llama-cpp-python=={VERSION}", "--target", folder]
        subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "typing_extensions", "diskcache", *what], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("llama_cpp")


@pytest.mark.parametrize("format", BOUNDS)
@pytest.mark.parametrize("name", small_project.MODELS)
def test_llama_cpp_computes_what_the_model_does(project, llama_cpp, name, format):
    source = project / "quantized" / name
    model, tokenizer = weights.dense(source), tokenizers.load(source)
    backend = llama_cpp.Llama(
        str(project / f"exports/{name}/{format}/model.gguf"), n_ctx=24, n_threads=1, logits_all=True, flash_attn=False, verbose=False
    )
    try:
        ids = backend.tokenize(PROMPTS[name].encode(), add_bos=False, special=False)
        assert ids == tokenizer.encode(PROMPTS[name])
        assert backend.detokenize(ids).decode() == PROMPTS[name]
        assert (backend.n_vocab(), backend.token_eos()) == (tokenizer.vocab_size, tokenizer.eos)
        backend.eval(ids)
        with torch.no_grad():
            expected = model(torch.tensor([ids]))[0][0].numpy()
        difference = np.abs(np.array(backend.scores[: len(ids)]) - expected).max() / expected.std()
        assert difference < BOUNDS[format]
        text = backend(PROMPTS[name], max_tokens=5, temperature=0)["choices"][0]["text"]
        greedy = generate(model, [ids], 5, eos=tokenizer.eos)[0]
        assert text[:1] == tokenizer.decode(greedy[:1]) or greedy[0] == tokenizer.eos
    finally:
        backend.close()

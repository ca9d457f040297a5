"""The exports of two tiny random models with a recurrent state, a GRU and a RealNet, against the models themselves."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from pipeline import conversion, io, models
from pipeline.conversion import weights
from pipeline.errors import UserError
from tests.parity import small_project

CLOSE = 1e-4
FORMATS = small_project.formats("realnet")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


@pytest.fixture(params=small_project.RECURRENT)
def name(request):
    return request.param


@pytest.fixture
def tokens(model):
    return torch.randint(0, model.config["vocab_size"], (3, 30), generator=torch.Generator().manual_seed(4))


def test_both_families_have_the_same_formats_and_metrics_say_that_they_agree(project, name):
    figures = io.read_json(project / f"metrics/{name}/convert.json")
    assert set(figures) == set(FORMATS) == set(small_project.formats("gru"))
    for found in figures.values():
        assert 0 <= found["max_logit_difference"] < CLOSE
        assert found["greedy_equal"] == 1.0


@pytest.mark.parametrize("format", FORMATS)
def test_a_text_in_two_parts_past_the_context(project, name, model, tokens, format):
    """What the first part leaves behind, an export hands to the second; 30 tokens are more than the context of 24."""
    export = conversion.converter(model.config["quintet"]["family"], format).load(project / f"exports/{name}/{format}")
    with torch.no_grad():
        expected, _ = model(tokens)
        first, state = export(tokens[:, :13])
        second, _ = export(tokens[:, 13:], state)
    torch.testing.assert_close(torch.cat((first, second), 1), expected, atol=CLOSE, rtol=0)
    assert not torch.allclose(export(tokens[:, 13:])[0], second, atol=1e-2), "without its state the second part is another text"


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_is_a_function_of_token_and_state(project, name, model, batch):
    session = onnxruntime.InferenceSession(project / f"exports/{name}/onnx/model.onnx")
    field = "hidden" if name == "gates" else "neurons"
    assert [entry.name for entry in session.get_inputs()] == ["tokens", f"past_{field}"]
    assert [entry.name for entry in session.get_outputs()] == ["logits", field]
    (state,) = model.initial_state(batch)
    for step in range(3):
        tokens = torch.full((batch, 1), step)
        logits, found = session.run(None, {"tokens": tokens.numpy(), f"past_{field}": state.numpy()})
        with torch.no_grad():
            expected, (state,) = model(tokens, type(model.initial_state(1))(state))
        assert np.allclose(logits, expected.numpy(), atol=CLOSE) and np.allclose(found, state.numpy(), atol=CLOSE)


def test_packed_onnx_holds_bytes_and_no_float_matrix(project, name):
    matrices = weights.quantized(project / "quantized" / name)[1]
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(project / f"exports/{name}/onnx_packed/model.onnx").graph.initializer}
    assert {key.removesuffix(".codes") for key, array in arrays.items() if array.dtype == np.uint8} == matrices.keys()
    shapes = {tuple(matrix.digits_RK.shape) for matrix in matrices.values()}
    assert not any(array.dtype == np.float32 and shapes & {array.shape, array.shape[::-1]} for array in arrays.values())


def test_json_has_digits_and_biases_under_the_schemas_names(project, name):
    document = json.loads((project / f"exports/{name}/json/model.json").read_text())
    own = models.load(project / f"exports/{name}/safetensors").state_dict()
    by_name = {layer["name"]: layer for layer in document["layers"]}
    assert document["hidden_dims"] == ([24] if name == "neurons" else [20, 20])
    head = by_name["lm_head.weight"]
    assert head["use_bias"] and torch.equal(torch.tensor(head["bias"]), own["lm_head.bias"])
    assert {digit for row in head["weight_pentary"] for digit in row} == {-2, -1, 0, 1, 2}
    assert not by_name["embed_tokens.weight"]["use_bias"]


def test_every_form_is_evaluated_alike(project, name):
    metrics = io.read_json(project / f"metrics/{name}/evaluate.json")
    for format in FORMATS:
        assert metrics[format]["loss"] == pytest.approx(metrics["quantized"]["loss"], abs=1e-5)
    assert metrics["quantized"]["loss"] != metrics["float"]["loss"]
    assert {"unigram", "bigram", "bzip2"} <= metrics["baselines"].keys()


def test_what_has_no_room_for_a_recurrent_state_is_refused_with_a_reason():
    with pytest.raises(UserError, match="a realnet model cannot be written as huggingface, because transformers has no class"):
        conversion.converter("realnet", "huggingface")
    with pytest.raises(
        UserError, match=r"a gru model cannot be written as gguf, because llama\.cpp has no architecture .*: choose from safetensors"
    ):
        conversion.converter("gru", "gguf")

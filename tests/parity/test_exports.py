"""The exports of two tiny random models, one with grouped heads and one with an output matrix of its own, against the models themselves."""

import json

import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline import io, models
from pipeline.conversion import onnx as onnx_format
from pipeline.conversion import onnx_graph, parity, weights
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from tests.parity import small_project

CLOSE = 1e-4

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


@pytest.fixture(params=small_project.MODELS)
def name(request):
    return request.param


@pytest.fixture
def tokens(model):
    return torch.randint(0, model.config["vocab_size"], (5, 17), generator=torch.Generator().manual_seed(4))


def test_metrics_say_so(project, name):
    figures = io.read_json(project / f"metrics/{name}/convert.json")
    assert set(figures) == {*small_project.formats("transformer"), "model_directory"}
    for found in figures.values():
        assert 0 <= found["max_logit_difference"] < CLOSE
        assert 0 <= found["kl_divergence"] < 1e-8
        assert found["greedy_equal"] == 1.0
    assert figures["onnx"]["bytes"] == (project / f"exports/{name}/onnx/model.onnx").stat().st_size


def test_huggingface_weights_are_digits_times_scales(project, name, model):
    backend, report = AutoModelForCausalLM.from_pretrained(project / f"exports/{name}/huggingface", output_loading_info=True)
    assert not any(report.values())
    own = weights.dense(project / "quantized" / name).state_dict()
    read = backend.state_dict()
    assert all(torch.equal(read[key], tensor) for key, tensor in own.items())
    row = read["model.layers.0.mlp.up_proj.weight"][3]
    assert len(row.abs().unique()) <= 3, "0, scale and twice the scale"


def test_huggingface_logits(project, name, model, tokens):
    backend = AutoModelForCausalLM.from_pretrained(project / f"exports/{name}/huggingface")
    with torch.no_grad():
        assert torch.allclose(backend(tokens).logits, model(tokens)[0], atol=CLOSE, rtol=0)


def test_float_directory_is_read_by_transformers_as_it_is(project, name, tokens):
    folder = project / "models" / name
    backend = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.allclose(backend(tokens).logits, models.load(folder)(tokens)[0], atol=CLOSE, rtol=0)


def test_tokenizer_gives_the_same_ids(project, name):
    folder = project / f"exports/{name}/huggingface"
    ours, theirs = tokenizers.load(folder), AutoTokenizer.from_pretrained(folder)
    text = "Weiter! – weiß\n" if name == "writer" else "210+430=640"
    assert theirs.encode(text) == ours.encode(text)
    assert theirs.decode(theirs.encode(text)) == text
    assert theirs.eos_token_id == ours.eos == AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id


@pytest.mark.parametrize(("batch", "sequence", "past"), [(1, 1, 0), (4, 7, 0), (1, 24, 0), (2, 1, 5), (3, 6, 9), (1, 1, 23)])
def test_onnx_with_any_batch_length_and_past(project, name, model, batch, sequence, past):
    session = onnxruntime.InferenceSession(project / f"exports/{name}/onnx/model.onnx")
    tokens = torch.randint(0, model.config["vocab_size"], (batch, past + sequence), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model(tokens)[0][:, past:]
    layers, _, heads, _, channels = session.get_inputs()[1].shape
    empty = torch.zeros(layers, batch, heads, 0, channels).numpy()
    cache = [empty, empty]
    if past:
        _, *cache = session.run(None, {"tokens": tokens[:, :past].numpy(), "past_keys": empty, "past_values": empty})
    logits, keys, _ = session.run(None, {"tokens": tokens[:, past:].numpy(), "past_keys": cache[0], "past_values": cache[1]})
    assert keys.shape == (layers, batch, heads, past + sequence, channels)
    assert torch.allclose(torch.from_numpy(logits), expected, atol=CLOSE, rtol=0)


def test_onnx_graph_is_pinned_and_whole(project, name):
    path = project / f"exports/{name}/onnx/model.onnx"
    proto = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", onnx_graph.OPSET)]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert [entry.name for entry in proto.graph.input] == ["tokens", "past_keys", "past_values"]
    data = path.read_bytes()
    assert not any(trace in data for trace in (b"/pipeline/", b"File ", b"torch", str(project).encode()))


def test_onnx_refuses_positions_past_the_context(project, name):
    model = onnx_format.load(project / f"exports/{name}/onnx")
    _, state = model(torch.zeros(1, model.context, dtype=torch.int64))
    with pytest.raises(ValueError, match="24 \\+ 1 tokens do not fit the context"):
        model(torch.zeros(1, 1, dtype=torch.int64), state)


def test_card_says_how_problems_are_written_and_its_code_runs(project, tmp_path):
    folder = project / "exports/adder/huggingface"
    card = (folder / "README.md").read_text()
    codec = Codec.from_dict(json.loads((folder / "config.json").read_text())["quintet"]["codec"])
    equation, written = card.split("filled up with zeros: `")[1].split("`")[:3:2]
    spelled = tokenizers.load(folder).decode(codec.encode_equation(equation)[:-1])
    assert written == spelled
    assert card.startswith("---\nlibrary_name: transformers\n")
    code = card.split("```python\n")[1].split("```")[0]
    printed = []
    exec(code.replace('directory = "."', f"directory = {str(folder)!r}"), {"print": printed.append})
    assert isinstance(printed[0], str)


@pytest.mark.parametrize("section", ["quantized", *small_project.formats("transformer")])
def test_every_form_is_evaluated_alike(project, name, section):
    metrics = io.read_json(project / f"metrics/{name}/evaluate.json")
    key = "loss" if name == "writer" else "exact_match"
    assert metrics[section][key] == pytest.approx(metrics["quantized"][key], abs=1e-5)
    assert metrics[section]["loss"] != metrics["float"]["loss"]
    assert metrics["quantized"]["bits_per_weight"] < metrics[section]["bits_per_weight"] + 1e-9
    assert metrics[section]["bytes"] > 0


def test_other_process_other_place_same_bytes(project, tmp_path):
    """Another folder, hash seed, time zone, locale and number of threads."""
    small_project.copy(project, tmp_path)
    small_project.stage_elsewhere(tmp_path, "convert", "adder", PYTHONHASHSEED="4711", TZ="Asia/Kathmandu", LC_ALL="C", OMP_NUM_THREADS="2")
    made, here = small_project.converted(tmp_path, "adder"), small_project.converted(project, "adder")
    assert set(made) == set(here)
    assert [path for path in made if made[path] != here[path]] == []


def test_a_directory_that_computes_something_else_publishes_nothing(project, tmp_path):
    small_project.copy(project, tmp_path)
    config = tmp_path / "models/adder/config.json"
    changed = io.read_json(config)
    changed["rope_parameters"]["rope_theta"] = 100.0  # ours reads rope_theta, transformers this
    io.write_json(config, changed)
    with pytest.raises(parity.ParityError, match="models/adder does not compute what its model does: max_logit_difference is"):
        small_project.stage(tmp_path, "convert", "adder")
    assert not (tmp_path / "exports").exists()

"""What is particular to each packed export of the two tiny random models."""

import io as memory
import json
import shutil
import subprocess
import sys
import zipfile

import gguf
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoModelForCausalLM

from pipeline import conversion, io, quantization
from pipeline.conversion import gguf_file, weights
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.errors import UserError
from pipeline.models.generation import generate
from tests.parity import small_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


@pytest.fixture(params=small_project.MODELS)
def name(request):
    return request.param


@pytest.fixture
def matrices(project, name):
    return weights.quantized(project / "quantized" / name)[1]


@pytest.fixture
def tokens(project, name):
    model = quantization.load(project / "quantized" / name)
    return torch.randint(0, model.config["vocab_size"], (3, 11), generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("format", ["onnx", "onnx_packed", "torch_export", "torch_export_packed", "numpy"])
def test_positions_past_the_context_are_refused(project, name, format):
    model = conversion.converter("transformer", format).load(project / f"exports/{name}/{format}")
    _, state = model(torch.zeros(1, model.context, dtype=torch.int64))
    with pytest.raises(ValueError, match="24 \\+ 1 tokens do not fit the context"):
        model(torch.zeros(1, 1, dtype=torch.int64), state)


@pytest.mark.parametrize("format", ["onnx_packed", "torch_export", "torch_export_packed", "numpy"])
@pytest.mark.parametrize(("batch", "sequence", "past"), [(1, 1, 0), (3, 6, 9), (1, 1, 23)])
def test_any_batch_length_and_past(project, name, format, batch, sequence, past):
    own = quantization.load(project / "quantized" / name)
    model = conversion.converter("transformer", format).load(project / f"exports/{name}/{format}")
    tokens = torch.randint(0, own.config["vocab_size"], (batch, past + sequence), generator=torch.Generator().manual_seed(5))
    state = model(tokens[:, :past])[1] if past else None
    with torch.no_grad():
        assert torch.allclose(model(tokens[:, past:], state)[0], own(tokens)[0][:, past:], atol=1e-4, rtol=0)


def test_onnx_holds_bytes_and_no_float_matrix(project, name, matrices):
    path = project / f"exports/{name}/onnx_packed/model.onnx"
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert {key.removesuffix(".codes") for key, array in arrays.items() if array.dtype == np.uint8} == matrices.keys()
    shapes = {tuple(matrix.digits_RK.shape) for matrix in matrices.values()}
    assert not any(array.dtype == np.float32 and shapes & {array.shape, array.shape[::-1]} for array in arrays.values())
    assert {entry.domain for entry in onnx.load(path).opset_import} == {""}


def test_onnx_computes_the_same_without_constant_folding(project, name, tokens):
    path = project / f"exports/{name}/onnx_packed/model.onnx"
    sessions = [onnxruntime.InferenceSession(path, disabled_optimizers=off) for off in ([], ["ConstantFolding"])]
    layers, _, heads, _, channels = sessions[0].get_inputs()[1].shape
    past = np.zeros((layers, len(tokens), heads, 0, channels), np.float32)
    inputs = {"tokens": tokens.numpy(), "past_keys": past, "past_values": past}
    folded, decoded = (session.run(["logits"], inputs)[0] for session in sessions)
    assert np.allclose(folded, decoded, atol=1e-5)


def test_gguf_holds_the_digits(project, name, matrices):
    reader = gguf.GGUFReader(project / f"exports/{name}/gguf_packed/model.gguf")
    config = io.read_json(project / f"quantized/{name}/config.json")
    theirs = {tensor.name: tensor for tensor in reader.tensors}
    names = gguf_file.names(config)
    kinds = set()
    for key, matrix in matrices.items():
        tensor = theirs[names[key]]
        kinds.add(tensor.tensor_type.name)
        read = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        assert torch.equal(read, matrix.dense())
    assert kinds == ({"F16"} if name == "writer" else {"Q4_0", "Q3_K"})
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == config["vocab_size"] == theirs["token_embd.weight"].shape[1]
    assert ("output.weight" in theirs) == (not config["tie_word_embeddings"])


def test_gguf_says_how_problems_are_written(project):
    reader = gguf.GGUFReader(project / "exports/adder/gguf/model.gguf")
    quintet = json.loads(reader.fields["quintet.config"].contents())
    assert Codec.from_dict(quintet["codec"]).encode_problem("3+4=")


def test_the_numpy_program_alone_writes_what_the_model_writes(project, name, tmp_path):
    """In isolated mode, from a copied folder: nothing of this project can be imported."""
    folder = shutil.copytree(project / f"exports/{name}/numpy", tmp_path / "copy")
    model, tokenizer = quantization.load(project / "quantized" / name), tokenizers.load(folder)
    prompt = "Der W" if name == "writer" else "30+40="
    drawn = generate(model, [tokenizer.encode(prompt)], 8, eos=tokenizer.eos)[0]
    expected = prompt + tokenizer.decode(id for id in drawn if id != tokenizer.eos)
    done = subprocess.run([sys.executable, "-I", folder / "run.py", prompt, "8"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (expected + "\n", "")


def test_the_numpy_program_names_a_character_that_it_does_not_know(project, tmp_path):
    folder = project / "exports/adder/numpy"
    done = subprocess.run([sys.executable, "-I", folder / "run.py", "3?4"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("'?' is not in the model's alphabet")


def test_another_program_is_not_run(project, tmp_path):
    folder = shutil.copytree(project / "exports/adder/numpy", tmp_path / "copy")
    with (folder / "run.py").open("a") as file:
        file.write("print('changed')\n")
    with pytest.raises(UserError, match=r"run\.py is not what this version writes"):
        conversion.converter("transformer", "numpy").load(folder)


def test_torch_program_computes_by_our_operations(project, name):
    with zipfile.ZipFile(project / f"exports/{name}/torch_export_packed/model.pt2") as file:
        program = file.read("archive/models/model.json").decode()
        assert file.getinfo("archive/data/sample_inputs/model.pt").file_size == 0
    assert "quintet.linear" in program and "quintet.embedding" in program and "aten.linear" not in program
    assert not any(trace in program for trace in ("/pipeline/", "File ", str(project)))


def test_a_pickled_part_is_not_read(project, tmp_path):
    folder = shutil.copytree(project / "exports/adder/torch_export", tmp_path / "copy")
    module = torch.nn.Linear(2, 2)
    file = memory.BytesIO()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), file)
    (folder / "model.pt2").write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"model\.pt2: data/sample_inputs/model\.pt is pickled"):
        conversion.converter("transformer", "torch_export").load(folder)
    (folder / "model.pt2").write_bytes(file.getvalue()[:500])
    with pytest.raises(UserError, match=r"model\.pt2 is no program of torch\.export"):
        conversion.converter("transformer", "torch_export").load(folder)


def test_transformers_computes_from_packed_weights(project, name, matrices, tokens, tmp_path):
    folder = project / f"exports/{name}/huggingface_packed"
    backend, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert {key.removesuffix(".codes") for key in backend.state_dict() if key.endswith(".codes")} == matrices.keys()
    assert not any(parameter.dim() == 2 for parameter in backend.parameters())
    own = quantization.load(project / "quantized" / name)
    with torch.no_grad():
        assert torch.allclose(backend(tokens).logits, own(tokens)[0], atol=1e-4, rtol=0)
    backend.save_pretrained(tmp_path)
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()) and torch.equal(again(tokens).logits, backend(tokens).logits)


def test_json_has_the_keys_of_the_pentary_tools(project, name, matrices):
    document = io.read_json(project / f"exports/{name}/json/model.json")
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert document["input_dim"] == document["output_dim"] == document["architecture"]["vocab_size"]
    for key, matrix in matrices.items():
        layer = layers[key]
        assert layer["type"] == ("embedding" if "embed" in key else "linear") and layer["use_bias"] is False
        assert [layer["out_features"], layer["in_features"]] == list(matrix.digits_RK.shape)
        assert layer["weight_pentary"] == matrix.digits_RK.tolist()
        assert torch.equal(torch.tensor(layer["weight_scale"]), matrix.scale_RG[:, 0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda layer: layer["weight_pentary"].pop(), r"layer lm_head\.weight is damaged"),
        (lambda layer: layer["weight_scale"].append(1.0), r"layer lm_head\.weight is damaged"),
        (lambda layer: layer.update(weight_pentary=[["x"]]), r"layer lm_head\.weight is damaged"),
        (lambda layer: layer.update(name="other"), r"asks for lm_head\.weight to be float32 of shape \[14, 32\], but it is absent"),
    ],
)
def test_damaged_json_is_refused(project, tmp_path, change, sentence):
    document = io.read_json(project / "exports/adder/json/model.json")
    change(next(layer for layer in document["layers"] if layer["name"] == "lm_head.weight"))
    io.write_json(tmp_path / "model.json", document)
    with pytest.raises(UserError, match=sentence):
        conversion.converter("transformer", "json").load(tmp_path)

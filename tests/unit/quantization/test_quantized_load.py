import json
import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline import ops, quantization
from pipeline.errors import UserError
from pipeline.quantization.modules import PackedLinear, PackedMatrix, exchange
from tests.unit.quantization.small_model import describe_anew, float_model, save

TOKENS = torch.arange(12).view(2, 6) % 11


def dequantized(module, packed):
    """The float model with its matrices replaced by what the packed ones stand for."""
    with torch.no_grad():
        for name, parameter in module.quantizable().items():
            parameter.copy_(packed[name].dense())
    return module


@pytest.mark.parametrize("tied", [True, False])
def test_packed_model_computes_what_its_weights_stand_for(tied, tmp_path):
    model = float_model(tie_word_embeddings=tied)
    packed = quantization.quantize(model.quantizable(), "here")
    save(model, packed, tmp_path)
    loaded = quantization.load(tmp_path)
    with torch.no_grad():
        expected, _ = dequantized(model, packed)(TOKENS)
        logits, _ = loaded(TOKENS)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_incremental_decoding_agrees(directory):
    loaded = quantization.load(directory)
    state = loaded.initial_state(2, 6)
    with torch.no_grad():
        steps = torch.cat([loaded(TOKENS[:, i : i + 1], state)[0] for i in range(6)], 1)
        torch.testing.assert_close(steps, loaded(TOKENS)[0], rtol=1e-4, atol=1e-5)


def test_no_float_matrix_is_kept_and_tied_ones_are_shared(directory):
    loaded = quantization.load(directory)
    assert all(p.dim() == 1 and p.device.type == "cpu" for p in loaded.parameters())
    assert not any(isinstance(m, nn.Linear | nn.Embedding) for m in loaded.modules())
    floats = [b for b in loaded.buffers() if b.is_floating_point() and b.dim() == 2]
    assert not floats


def test_exchange_shares_one_matrix_between_tied_modules():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)
            self.head.weight = self.embed.weight

    module = Tied()
    packed = quantization.quantize({"w": module.embed.weight}, "here")["w"]
    bias = module.head.bias
    exchange(module, {module.embed.weight: packed})
    assert module.embed.weight is module.head.weight is packed
    hidden = module.embed(torch.tensor([3, 6]))
    torch.testing.assert_close(module.head(hidden), hidden @ packed.dense().T + bias)


def test_a_matrix_outside_the_known_modules_is_a_programmers_error():
    module = nn.Module()
    module.raw = nn.Parameter(torch.zeros(2, 3))
    packed = PackedMatrix(ops.pack(torch.zeros(2, 3, dtype=torch.int8)), torch.zeros(2), 3)
    with pytest.raises(ValueError, match="belongs to no"):
        exchange(module, {module.raw: packed})


def test_float32_and_bfloat16_inputs():
    matrix = quantization.quantize({"w": torch.randn(6, 9, generator=torch.Generator().manual_seed(0))}, "here")["w"]
    matrix.arrange("nibble", "float")
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    layer = PackedLinear(matrix, torch.ones(6))
    torch.testing.assert_close(layer(x), x @ matrix.dense().T + 1)
    assert layer(x.bfloat16()).dtype in (torch.bfloat16, torch.float32)
    torch.testing.assert_close(layer(x.bfloat16()).float(), layer(x), rtol=0.05, atol=0.05)


def test_weights_that_are_not_finite_are_refused(model):
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")
    with pytest.raises(UserError, match=r"^models/x: model.layers.1.mlp.up_proj.weight holds weights that are not finite"):
        quantization.quantize(model.quantizable(), "models/x")


def damaged(directory, change=None, config=None):
    """Change the tensors or the configuration of a directory."""
    path = directory / "model.safetensors"
    if change:
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)
    if config:
        content = json.loads((directory / "config.json").read_text())
        config(content)
        (directory / "config.json").write_text(json.dumps(content))


NAME = "model.layers.0.mlp.up_proj.weight"


def with_bytes(change):
    """What changes the bytes of the second stream, which is then whole again."""

    def rewrite(tensors):
        inflater = zlib.decompressobj()
        text = inflater.decompress(tensors["quantized"].numpy())
        content = bytearray(zlib.decompress(inflater.unused_data))
        change(content)
        found = zlib.compress(text) + zlib.compress(content, 9)
        tensors["quantized"] = torch.frombuffer(bytearray(found), dtype=torch.uint8)

    return rewrite


def set_byte(place, value):
    def change(content):
        content[place] = value

    return with_bytes(change)


TENSOR_FAULTS = {
    r"quantized\['model\.layers\.1\.self_attn\.v_proj\.weight'\] is damaged \(a byte is more than 124": set_byte(-2, 125),
    r"v_proj\.weight'\] is damaged \(the last byte is not filled up with digits 0": set_byte(-1, 0),
    r"quantized is damaged \(it does not end after the \d+ bytes that are described": with_bytes(lambda content: content.append(0)),
    r"quantized is damaged \(it does not end after": with_bytes(lambda content: content.pop()),
    r"quantized is damaged \(it is no zlib stream": lambda t: t["quantized"][-1:].bitwise_xor_(1),
    r"quantized is damaged \(it does not end": lambda t: t.update(quantized=t["quantized"][:-1].contiguous()),
    r"quantized is damaged \(its description is cut off": lambda t: t.update(quantized=t["quantized"][:20].contiguous()),
    r"quantized is damaged \(its description is no zlib stream": lambda t: t["quantized"][:2].fill_(255),
    "has no tensor quantized": lambda t: t.pop("quantized"),
    r"quantized is torch.float32 \[\d+\]": lambda t: t.update(quantized=t["quantized"].float()),
    r"quantized is torch.int8": lambda t: t.update(quantized=t["quantized"].view(torch.int8)),
    r"quantized is torch.uint8 \[1, \d+\], but": lambda t: t.update(quantized=t["quantized"][None]),
    rf"{NAME}.codes is uint8 of shape \[188\] where .* no such tensor": lambda t: t.update({f"{NAME}.codes": torch.zeros(188).byte()}),
    "model.norm.weight is not there": lambda t: t.pop("model.norm.weight"),
    r"extra is float32 of shape \[3\] where .* no such tensor": lambda t: t.update({"extra": torch.zeros(3)}),
}


@pytest.mark.parametrize("message", TENSOR_FAULTS)
def test_damaged_tensors_are_named(directory, message):
    damaged(directory, TENSOR_FAULTS[message])
    with pytest.raises(UserError, match=message) as caught:
        quantization.load(directory)
    assert str(directory / "model.safetensors") in str(caught.value) or str(directory / "config.json") in str(caught.value)


CONFIG_FAULTS = {
    "quant_method is None": lambda c: c.pop("quantization_config"),
    "quant_method is 'gptq'": lambda c: c["quantization_config"].update(quant_method="gptq"),
    "version is 5, but this program reads 1 to 4: use the one that wrote it": lambda c: c["quantization_config"].update(version=5),
    r"config\.json: quantization_config\.matrices is None": lambda c: c["quantization_config"].update(version=3),
    "has '5' levels, not one of": lambda c: c["quantization_config"].update(levels="5"),
    "has None levels, not one of": lambda c: c["quantization_config"].pop("levels"),
    r"is \[20, 32\] where the model's sizes ask for \[20, 40\]": lambda c: c.update(intermediate_size=40),
    "describes no model that can be built": lambda c: c.update(hidden_size="big"),
    "no section `quintet`": lambda c: c.pop("quintet"),
    "there is no model family 'other'": lambda c: c["quintet"].update(family="other"),
}


@pytest.mark.parametrize("message", CONFIG_FAULTS)
def test_damaged_configurations_are_named(directory, message):
    damaged(directory, config=CONFIG_FAULTS[message])
    with pytest.raises(UserError, match=message):
        quantization.load(directory)


DESCRIPTION_FAULTS = {
    r"is \[32, -1\], not \[rows, columns\]": lambda entries: entries[NAME].update(shape=[32, -1]),
    r"is \[True, 3\], not": lambda entries: entries[NAME].update(shape=[True, 3]),
    r"is \[0, 1000000000000000000000\], not": lambda entries: entries[NAME].update(shape=[0, 10**21]),
    r"is 'x', not \[rows, columns\]": lambda entries: entries.update({NAME: "x"}),
    "has 6 levels, not one of 3, 4, 5, 7, 9, 15, 256": lambda entries: entries[NAME].update(levels=6),
    "has the largest scale 0.3, which is none that a file holds": lambda entries: entries[NAME].update(largest_scale=0.3),
    "quantized is damaged .Infinity is no number of JSON": lambda entries: entries[NAME].update(largest_scale=float("inf")),
    "has the largest scale -1.0, which": lambda entries: entries[NAME].update(largest_scale=-1.0),
    "has the largest scale None, which": lambda entries: entries[NAME].pop("largest_scale"),
    r"quantized is damaged \(\d{16} bytes are described, more than \d+ can hold": lambda e: e[NAME].update(shape=[32, 10**14]),
    r"quantized is damaged \(it does not end after": lambda entries: entries[NAME].update(levels=256),
    "more than 1048576 bytes": lambda entries: entries.update({"x" * (1 << 20): {}}),
    r"quantized is damaged \(it does not end after the \d+": lambda entries: entries.pop(NAME),
}


@pytest.mark.parametrize("message", DESCRIPTION_FAULTS)
def test_damaged_descriptions_are_named(directory, message):
    describe_anew(directory, DESCRIPTION_FAULTS[message])
    with pytest.raises(UserError, match=message) as caught:
        quantization.load(directory)
    assert str(directory / "model.safetensors") in str(caught.value)


def test_a_description_that_is_no_list_is_refused(directory):
    path = directory / "model.safetensors"
    save_file({"quantized": torch.frombuffer(bytearray(zlib.compress(b"[3]")), dtype=torch.uint8)}, path)
    with pytest.raises(UserError, match=r"model\.safetensors: quantized is \[3\], not the shapes of the matrices"):
        quantization.load(directory)


@pytest.mark.parametrize("content", ["[]", "3", '{"quintet": 3}', "{", "\ud800".encode("utf-16", "surrogatepass")])
def test_configurations_of_another_shape_are_refused(directory, content):
    (directory / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"config.json (has no section `quintet`|is not valid JSON)"):
        quantization.load(directory)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "max_position_embeddings"])
def test_an_oversized_model_is_refused_without_its_memory(directory, key):
    damaged(directory, config=lambda c: c.update({key: 10**9}))
    with pytest.raises(UserError, match=rf"config\.json: {key} is 1000000000, but"):
        quantization.load(directory)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_files_are_refused(directory, keep):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model.safetensors: (header length|length of the data) is \d+ .*the file is damaged"):
        quantization.load(directory)


def test_missing_files_are_named(directory):
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model.safetensors is missing"):
        quantization.load(directory)


def test_int8_activations_cost_little(directory):
    """8-bit activations are far finer than 5-level weights."""
    exact, fast = quantization.load(directory), quantization.load(directory, activations="int8")
    with torch.no_grad():
        a, b = exact(TOKENS)[0], fast(TOKENS)[0]
    assert not torch.equal(a, b)
    assert (a - b).square().mean() < 2e-3 * a.square().mean()

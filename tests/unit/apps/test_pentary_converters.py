"""Models of PyTorch and ONNX: they compute the same here, keep their topology, and what has no layer is refused by its name."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.apps.pentary import ONNXToPentaryConverter, PentaryModel, PentaryTrainer, PyTorchToPentaryConverter
from pipeline.apps.pentary.torch_graph import imported
from pipeline.conversion import pentary_onnx
from pipeline.errors import UserError


class Residual(nn.Module):
    """Branches, a skip connection, norms in two places, functions and methods in place of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Sequential(nn.Conv2d(4, 4, (1, 3), padding=(0, 1)), nn.Sigmoid(), nn.Dropout(0.5))
        self.pool, self.mean = nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.last, self.end = nn.Linear(20, 6), nn.BatchNorm1d(6)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        y = self.block(x) + x
        pooled = self.pool(y).flatten(1)
        mean = self.mean(y * x).view(x.size(0), -1)
        joined = torch.cat([pooled, mean], 1)
        return self.end(self.last(torch.tanh(joined)))


def trained(module: nn.Module, *shape: int) -> nn.Module:
    """A module whose norms have seen something."""
    torch.manual_seed(0)
    for _ in range(3):
        module(torch.randn(8, *shape) * 2 + 1)
    return module.eval()


@pytest.fixture
def residual() -> nn.Module:
    torch.manual_seed(1)
    return trained(Residual(), 2, 4, 4)


def test_a_module_keeps_its_topology_and_computes_the_same(residual, tmp_path):
    network = imported(residual, (1, 2, 4, 4))
    inputs = {layer["name"]: layer["inputs"] for layer in network.description}
    assert inputs["block.0"] == ["relu"] and sorted(inputs["add"]) == ["block.2", "relu"] and len(inputs["cat"]) == 2
    x = torch.randn(5, 2, 4, 4)
    torch.testing.assert_close(network(x), residual(x), atol=1e-5, rtol=1e-5)
    report = PyTorchToPentaryConverter().convert(residual, tmp_path / "model.json", (1, 2, 4, 4))
    assert report["import_difference"] < 1e-4 and 0 < report["relative_difference"] < 0.5 and report["same_largest_output"] > 0.5
    document = json.loads((tmp_path / "model.json").read_text())
    assert "batchnorm" not in [layer["type"] for layer in document["layers"]] and document["report"] == report


@pytest.mark.parametrize("name", ["model.json", "model"])
def test_what_was_converted_runs_and_learns_on(residual, tmp_path, name):
    report = PyTorchToPentaryConverter().convert(residual, tmp_path / name, (1, 2, 4, 4))
    trainer = PentaryTrainer(PentaryModel(2, 2))
    trainer.load_model(tmp_path / name)
    x = torch.randn(32, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    difference = torch.as_tensor(trainer.model.predict(x.flatten(1))) - residual(x).detach()
    assert float(difference.abs().max()) == pytest.approx(report["max_difference"], rel=1e-3, abs=1e-5)
    trainer.train((x.flatten(1), np.arange(32) % 6), epochs=1, verbose=False)


def test_one_scale_a_tensor_is_worse(residual, tmp_path):
    differences = [
        PyTorchToPentaryConverter(method).convert(residual, tmp_path / f"{method}.json", (1, 2, 4, 4))["relative_difference"]
        for method in ("per_channel", "per_tensor")
    ]
    assert differences[0] < differences[1]


def test_onnx_computes_what_torch_does(residual, tmp_path):
    path = tmp_path / "model.onnx"
    torch.onnx.export(residual, (torch.randn(2, 2, 4, 4),), path, input_names=["x"], dynamo=True, dynamic_shapes=({0: "batch"},))
    network, shape = pentary_onnx.read(path)
    x = torch.randn(5, 2, 4, 4)
    assert shape == [2, 4, 4]
    torch.testing.assert_close(network(x), residual(x), atol=1e-5, rtol=1e-5)
    report = ONNXToPentaryConverter().convert(path, tmp_path / "packed")
    assert report["import_difference"] < 1e-4 and (tmp_path / "packed" / "model.safetensors").is_file()


def graph(path: Path, *nodes: onnx.NodeProto, **constants: np.ndarray) -> Path:
    """An ONNX file that takes x [batch, 3] and gives y."""
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3]), helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], values), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def test_products_and_sums_by_themselves(tmp_path):
    """What the document's tools lost: the transposed matrix, the bias after it, a norm that follows, a product that two read."""
    chance = np.random.default_rng(0)
    w, b, v = (chance.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (4,), (4, 4)))
    norm = {f"n{i}": np.abs(chance.standard_normal(4)).astype(np.float32) + 0.5 for i in range(4)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
        helper.make_node("Add", ["b", "p"], ["q"], "bias"),
        helper.make_node("BatchNormalization", ["q", *norm], ["r"], "norm", epsilon=1e-3),
        helper.make_node("Relu", ["r"], ["s"], "relu"),
        helper.make_node("Gemm", ["s", "v"], ["t"], "again"),
        helper.make_node("Add", ["t", "s"], ["y"], "skip"),
    ]
    path = graph(tmp_path / "model.onnx", *nodes, w=w, b=b, v=v, **norm)
    network, _ = pentary_onnx.read(path)
    assert [layer["name"] for layer in network.description] == ["product", "norm", "relu", "again", "skip"]
    x = torch.randn(6, 3)
    torch.testing.assert_close(network(x), pentary_onnx.run(path, x), atol=1e-5, rtol=1e-5)


def attribute(node: onnx.NodeProto, name: str, value: object) -> onnx.NodeProto:
    node.attribute.append(helper.make_attribute(name, value))
    return node


REFUSED = {
    "Erf": (helper.make_node("Erf", ["x"], ["y"], "curve"), "operation 'curve' of type Erf cannot be converted"),
    "a factor": (helper.make_node("Gemm", ["x", "w"], ["y"], "scaled", alpha=2.0), "operation 'scaled' of type Gemm"),
    "a constant sum": (helper.make_node("Add", ["x", "b"], ["y"], "shift"), "operation 'shift' of type Add"),
    "the batch": (helper.make_node("Softmax", ["x"], ["y"], "soft", axis=0), "operation 'soft' works along the batch"),
    "two products": (helper.make_node("MatMul", ["x", "x"], ["y"], "self"), "operation 'self' of type MatMul"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_operations_without_a_layer_are_named(tmp_path, what):
    node, says = REFUSED[what]
    path = graph(tmp_path / "model.onnx", node, w=np.ones((3, 3), np.float32), b=np.ones(3, np.float32))
    with pytest.raises(UserError, match=says):
        ONNXToPentaryConverter().convert(path, tmp_path / "model.json")
    assert not (tmp_path / "model.json").exists()


def test_what_is_no_onnx_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.onnx is missing"):
        ONNXToPentaryConverter().convert(tmp_path / "none.onnx", tmp_path / "model.json")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(UserError, match=r"text\.onnx is not an ONNX model"):
        ONNXToPentaryConverter().convert(tmp_path / "text.onnx", tmp_path / "model.json")


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class TwoInputs(nn.Module):
    def forward(self, x, other=None):
        return x


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, torch.relu(x)


class Mixing(nn.Module):
    def forward(self, x):
        return x.view(1, -1)


MODULES = {
    "an activation": (nn.Sequential(nn.Linear(4, 4), nn.GELU()), r"layer '1' \(GELU.* cannot be converted: known are linear"),
    "groups": (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), r"layer '0' \(Conv2d\(4, 4.*groups=2\)\) cannot be converted"),
    "a ceiling": (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), "layer '0' .*MaxPool2d"),
    "two inputs": (TwoInputs(), "the module has a second input 'other': only one can be converted"),
    "two outputs": (TwoOutputs(), "the module's output is not one tensor"),
    "a branch": (Branching(), "the module cannot be followed"),
    "samples mixed": (Mixing(), "layer 'view' makes .* across samples"),
}


@pytest.mark.parametrize("what", MODULES)
def test_layers_that_cannot_be_converted_are_named(tmp_path, what):
    module, says = MODULES[what]
    shape = (1, 4, 6, 6) if "Conv" in repr(module) or "Pool" in repr(module) else (1, 4)
    with pytest.raises(UserError, match=says):
        PyTorchToPentaryConverter().convert(module, tmp_path / "model.json", shape)


def test_outputs_that_are_images_become_rows(tmp_path):
    module = trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), 1, 5, 5)
    for name in ("model.json", "model"):
        report = PyTorchToPentaryConverter().convert(module, tmp_path / name, (1, 1, 5, 5))
        assert report["import_difference"] < 1e-4
        trainer = PentaryTrainer(PentaryModel(2, 2))
        trainer.load_model(tmp_path / name)
        assert trainer.model.predict(np.zeros((3, 25), np.float32)).shape == (3, 18) and trainer.model.output_dim == 18


def test_the_input_is_found_or_asked_for(tmp_path):
    report = PyTorchToPentaryConverter().convert(nn.Sequential(nn.Linear(5, 3), nn.ReLU()), tmp_path / "model.json")
    assert report["input_shape"] == [1, 5]
    with pytest.raises(UserError, match="input_shape is needed"):
        PyTorchToPentaryConverter().convert(nn.Sequential(nn.Conv2d(1, 1, 1)), tmp_path / "model.json")
    with pytest.raises(UserError, match="the model is a dict, not a torch module"):
        PyTorchToPentaryConverter().convert({}, tmp_path / "model.json")


def test_groups_and_several_outputs_of_onnx_are_refused_by_name(tmp_path):
    x, *ys = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 4, 3, 3]) for name in ("x", "y", "z"))
    kernels = numpy_helper.from_array(np.ones((4, 2, 1, 1), np.float32), "w")
    grouped = helper.make_node("Conv", ["x", "w"], ["y"], "halves", group=2)
    for nodes, outputs, says in (
        ([grouped], ys[:1], r"operation 'halves' of type Conv cannot be converted: known are .*Conv \(one group\)"),
        ([grouped, helper.make_node("Relu", ["y"], ["z"])], ys, "has 1 inputs and 2 outputs: only one each can be converted"),
    ):
        made = helper.make_graph(nodes, "g", [x], outputs, [kernels])
        onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx")
        with pytest.raises(UserError, match=says):
            ONNXToPentaryConverter().convert(tmp_path / "model.onnx", tmp_path / "model.json")

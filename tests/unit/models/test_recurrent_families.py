"""Families with a recurrent state: fused and step by step, whole and in parts, float and packed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline import models, ops, quantization
from pipeline.errors import UserError
from pipeline.models.generation import generate, read
from pipeline.models.realnet.network import RealNet
from pipeline.quantization import lsq, ptq, storage
from pipeline.quantization.modules import PackedLinear
from pipeline.schema.quantization import Ptq
from tests.unit.models import recurrent

pytestmark = pytest.mark.parametrize("family", recurrent.SIZES)


def watched(module: models.Model) -> list[str]:
    """Names of the linear maps in the order of their calls, from now on."""
    seen: list[str] = []
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear):
            child.register_forward_pre_hook(lambda child, arguments, name=name: seen.append(name))
    return seen


def test_step_by_step_is_the_fused_run(family: str) -> None:
    module, tokens = recurrent.model(family), recurrent.tokens(3, 9)
    fused, after = module(tokens)
    seen = watched(module)
    stepped, also = module(tokens)
    torch.testing.assert_close(stepped, fused, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tuple(also), tuple(after), atol=1e-4, rtol=1e-4)
    steps = 9 * 3 if family == "realnet" else 9
    assert seen.count("synapses" if family == "realnet" else "layers.1.hidden") == steps


def test_the_gradient_is_the_same_either_way(family: str) -> None:
    tokens, gradients = recurrent.tokens(3, 9), []
    for how in ("fused", "stepped"):
        module = recurrent.model(family).train()
        if how == "stepped":
            watched(module)
        module(tokens)[0].square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in module.named_parameters()})
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_a_text_in_pieces_gives_the_same_logits_and_more_than_the_context(family: str) -> None:
    module, tokens = recurrent.model(family), recurrent.tokens(2, 3 * recurrent.CONTEXT)
    whole, _ = module(tokens)
    torch.testing.assert_close(torch.cat(list(read(module, tokens, 5)), 1), whole, atol=1e-4, rtol=1e-4)
    long = generate(module, [tokens[0, :2].tolist()], 5 * recurrent.CONTEXT)[0]
    assert len(long) == 5 * recurrent.CONTEXT
    again = module(torch.tensor([[*tokens[0, :2].tolist(), *long]]))[0].argmax(-1)[0, 1:-1].tolist()
    assert sum(a == b for a, b in zip(long, again, strict=True)) > 0.9 * len(long)  # ties apart: greedy is greedy however it is read


def test_packed_weights_compute_what_their_dense_ones_do(family: str, tmp_path: Path) -> None:
    module = recurrent.model(family)
    packed = quantization.quantize(module.quantizable(), "model")
    assert len(packed) == (3 if family == "realnet" else 6)
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    config = {**module.config, "quantization_config": storage.describe(packed)}
    models.save(storage.tensors_of(packed, others), config, tmp_path / "model.safetensors", tmp_path / "config.json")
    loaded = quantization.load(tmp_path)
    assert sum(isinstance(child, PackedLinear) for child in loaded.modules()) == len(packed) - 1
    module.load_state_dict({name: matrix.dense() for name, matrix in packed.items()}, strict=False)
    tokens = recurrent.tokens(3, 9)
    torch.testing.assert_close(loaded(tokens)[0], module(tokens)[0], atol=1e-3, rtol=1e-3)


def test_training_at_few_levels_goes_through_the_fused_run_and_learns_every_step(family: str) -> None:
    module = recurrent.model(family).train()
    packed = quantization.quantize(module.quantizable(), "model")
    lsq.attach(module, packed, 2.0)
    module(recurrent.tokens(3, 9))[0].square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters() if name.endswith(".step")}
    assert len(gradients) == len(packed)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
    for name, matrix in lsq.packed(module).items():
        assert torch.equal(ops.unpack(matrix.codes, matrix.columns), packed[name].digits())


def test_calibration_reaches_the_recurrent_matrix(family: str) -> None:
    module = recurrent.model(family)
    batches = [recurrent.tokens(4, recurrent.CONTEXT)]
    levels = dict.fromkeys(module.quantizable(), 5)
    found = ptq.quantize(module, batches, batches, levels, Ptq())
    assert found.packed.keys() == levels.keys()
    assert found.output_snr.keys() == levels.keys() - {"embed_tokens.weight"}
    assert all(ratio is not None and ratio > 0 for ratio in found.output_snr.values())


def test_a_size_that_the_weights_cannot_have_is_refused(family: str, tmp_path: Path) -> None:
    module = recurrent.model(family)
    size = "num_neurons" if family == "realnet" else "embedding_size"
    models.save(module.state_dict(), {**module.config, size: 10**9}, tmp_path / "model.safetensors", tmp_path / "config.json")
    with pytest.raises(UserError, match=f"{size} is 1000000000, but the model has"):
        models.load(tmp_path)


def test_what_torch_says_to_a_size_is_one_sentence(family: str, tmp_path: Path) -> None:
    """It puts a trace of its own calls after some of its messages."""
    module = recurrent.model(family)
    size = "num_neurons" if family == "realnet" else "embedding_size"
    models.save(module.state_dict(), {**module.config, size: -(2**70)}, tmp_path / "model.safetensors", tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json describes no model that can be built \(.*run the stage") as refused:
        models.load(tmp_path)
    assert "Exception raised" not in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_it_is_the_librarys_network(family: str) -> None:
    """RealNet's own class in sequential mode computes the same, and `torch.nn.GRU` what the baseline does."""
    module, tokens = recurrent.model(family), recurrent.tokens(3, 9)
    logits, state = module(tokens)
    if family == "realnet":
        theirs = RealNet(20, range(14), range(4, 20), activation="gelu", vocab_size=17, vocab_mode="discrete")
        weights = {"W": "synapses.weight", "b": "synapses.bias", "gain": "gain", "embedding.weight": "embed_tokens.weight"}
        own = module.state_dict()
        tensors = {name: own[ours] for name, ours in weights.items()} | {"decoder.weight": own["lm_head.weight"]}
        tensors["W"] = tensors["W"].T
        theirs.load_state_dict({**theirs.state_dict(), **tensors})
        states, final = theirs(tokens, steps=27)
        torch.testing.assert_close(states + own["lm_head.bias"], logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(final, state.neurons, atol=1e-4, rtol=1e-4)
        return
    theirs_gru = nn.GRU(6, 12, num_layers=2, batch_first=True)
    own = module.state_dict()
    for layer in range(2):
        for kind, part in (("ih", "input"), ("hh", "hidden")):
            for what in ("weight", "bias"):
                getattr(theirs_gru, f"{what}_{kind}_l{layer}").data = own[f"layers.{layer}.{part}.{what}"]
    out, last = theirs_gru(nn.functional.embedding(tokens, own["embed_tokens.weight"]))
    torch.testing.assert_close(nn.functional.linear(out, own["lm_head.weight"], own["lm_head.bias"]), logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(last.transpose(0, 1), state.hidden, atol=1e-5, rtol=1e-5)

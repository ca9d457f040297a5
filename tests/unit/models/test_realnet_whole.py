"""RealNet's pass as one node of autograd's graph: outputs and gradients are those of its operations one by one."""

from typing import Any

import pytest
import torch

from pipeline.models.realnet.network import RealNet

CASES: dict[str, dict[str, Any]] = {
    "a pulse": {},
    "held input, dropout": {"net": {"pulse_mode": False, "dropout_rate": 0.3, "activation": "gelu"}},
    "from a state, at the end alone": {"state": True, "collect": 6},
    "a sequence in segments": {"frames": 3, "segment": 2},
}


def outcome(case: dict[str, Any], whole: bool, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Outputs, the final state, and the gradients of everything, by either way."""
    torch.manual_seed(3)
    net = RealNet(9, [0, 2, 4], [5, 6, 7], bias_init=0.1, **case.get("net", {}))
    with torch.no_grad():
        net.input_scale.uniform_(0.5, 2)
        net.output_scale.uniform_(0.5, 2)
    x = torch.randn(*((4, case["frames"], 3) if "frames" in case else (4, 3)), requires_grad=True)
    state = torch.randn(4, 9, requires_grad=True) if "state" in case else None
    used = []
    if not whole:
        monkeypatch.setattr(RealNet, "_is_plain", lambda *_: used.append(1) or False)
    states, final = net(x, 6, state, collect=case.get("collect"), segment=case.get("segment", 0))
    assert bool(used) != whole and (type(states.grad_fn).__name__ == "WholeBackward") == whole
    weight = torch.randn_like(states)
    wanted = [*net.parameters(), x, *([state] if state is not None else [])]
    gradients = torch.autograd.grad((states * weight).sum() + final.square().sum(), wanted)
    return [states, final, *gradients]


@pytest.mark.parametrize("name", CASES)
def test_one_node_computes_what_its_operations_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, found = (outcome(CASES[name], whole, monkeypatch) for whole in (True, False))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_weight_changed_before_its_gradient_is_noticed() -> None:
    net = RealNet(5, [0], [4])
    states, _ = net(torch.ones(2, 1), 3)
    with torch.no_grad():
        net.W.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()

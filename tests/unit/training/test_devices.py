"""Devices: a promise that cannot be kept is a sentence, and a permission ends with its block."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_a_user_s_mistake() -> None:
    with pytest.raises(UserError, match=r"training\.device is cuda, but torch finds no CUDA device on this machine: set it to cpu"):
        devices.prepare("cuda", 1)


def test_threads_and_determinism_are_set() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        assert devices.prepare("cpu", 2) == torch.device("cpu")
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def test_the_permission_for_bfloat16_ends_with_its_block() -> None:
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    with pytest.raises(RuntimeError), devices.products(torch.device("cpu"), "bfloat16"):
        assert matmul.fp32_precision == "bf16"
        raise RuntimeError
    assert matmul.fp32_precision == before
    with devices.products(torch.device("cpu"), "float32"):
        assert matmul.fp32_precision == before

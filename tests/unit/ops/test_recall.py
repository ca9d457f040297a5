"""A step of the associative memory against its definition, at every level of instructions."""

import pytest
import torch

from pipeline.ops import native, recall

ROWS, KEYS, WIDTH = 3, 5, 32


def problem() -> tuple[torch.Tensor, ...]:
    stream = torch.Generator().manual_seed(3)
    shapes = ((ROWS, KEYS, WIDTH), (ROWS, KEYS), (ROWS, KEYS), (ROWS, WIDTH), (KEYS,), (ROWS,))
    return tuple(torch.rand(shape, generator=stream) - 0.3 for shape in shapes)


def definition(memory, before, key, value, retention, plasticity):
    memory = retention[:, None] * memory + plasticity[:, None, None] * before[:, :, None] * value[:, None]
    return memory, (key[:, None] @ memory)[:, 0]


def computed(inputs, to_memory, to_recalled):
    memory, recalled = torch.empty_like(inputs[0]), torch.empty_like(inputs[3])
    recall.forward_into(inputs, memory, recalled)
    gradients = (to_memory.clone(), *(torch.zeros_like(x) for x in inputs[1:]))
    recall.backward_into(inputs, to_recalled, gradients)
    return memory, recalled, *gradients


@pytest.mark.parametrize("name", native.module().levels())
def test_the_kernel_computes_the_definition(level, name):
    level(name)
    inputs = problem()
    to_memory, to_recalled = (
        torch.linspace(-1, 1, inputs[0].numel()).view_as(inputs[0]),
        torch.linspace(0, 1, ROWS * WIDTH).view(ROWS, WIDTH),
    )
    tracked = [x.clone().requires_grad_() for x in inputs]
    memory, recalled = definition(*tracked)
    wanted = torch.autograd.grad((memory * to_memory).sum() + (recalled * to_recalled).sum(), tracked)
    for got, want in zip(computed(inputs, to_memory, to_recalled), (memory, recalled, *wanted), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_every_level_gives_the_same_bytes(level):
    inputs, results = problem(), []
    for name in native.module().levels():
        level(name)
        results.append(computed(inputs, inputs[0], inputs[3]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gradients_of_retention_add_up():
    inputs = problem()
    once = computed(inputs, inputs[0], inputs[3])[6]
    gradients = (inputs[0].clone(), *(torch.zeros_like(x) for x in inputs[1:4]), once.clone(), torch.zeros_like(inputs[5]))
    recall.backward_into(inputs, inputs[3], gradients)
    torch.testing.assert_close(gradients[4], 2 * once)


@pytest.mark.parametrize(
    "place, change, message",
    [
        (0, lambda x: x[:, :, :20], "memory must have a multiple of 16 columns, not 20"),
        (1, lambda x: x[:, :4], "before must have size 5 in dimension 1, not 4"),
        (2, lambda x: x[:2], "key must have size 3 in dimension 0, not 2"),
        (3, lambda x: x.double(), "value must have dtype float32"),
        (4, lambda x: x[:4], "retention must have size 5"),
        (5, lambda x: x[:2], "plasticity must have size 3"),
    ],
)
def test_mistakes_name_the_argument(place, change, message):
    inputs = list(problem())
    inputs[place] = change(inputs[place])
    with pytest.raises(ValueError, match=message):
        recall.forward_into(tuple(inputs), torch.empty(ROWS, KEYS, WIDTH), torch.empty(ROWS, WIDTH))

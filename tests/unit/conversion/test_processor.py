"""The processor's program: its text, run by a reference interpreter, is the model in whole numbers bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import io, models, quantization
from pipeline.conversion import Source, parity, processor, processor_words, weights
from pipeline.conversion.processor_network import WORD, Means
from pipeline.conversion.prompts import Prompts
from pipeline.errors import UserError
from pipeline.quantization import storage
from tests.unit.conversion.simulator import Simulator, memory
from tests.unit.models.digits import architecture, configuration, ready, samples

PROGRAMS = [("mlp", ("image",)), ("all", ("image", "text", "audio")), ("add", ("image", "text"))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Programs of untrained models: an MLP on images, and convolutions and embeddings of all modalities."""
    root = tmp_path_factory.mktemp("processor")
    ready(root / "ready")
    made = {}
    for name, modalities, sizes in (
        ("mlp", ("image",), {"image_channels": (), "hidden_dims": (12,)}),
        ("all", ("image", "text", "audio"), {"image_channels": (2, 3), "audio_channels": (2, 2), "embedding_dim": 4, "hidden_dims": (6,)}),
        ("add", ("image", "text"), {"image_channels": (2,), "embedding_dim": 4, "fusion": "add", "common": 5, "hidden_dims": (6,)}),
    ):
        directory = write(root / name, modalities, **sizes)
        made[name] = root / f"{name}-program"
        made[name].mkdir()
        processor.export(weights.dense(directory), Source(name, directory, root / "ready"), made[name])
    return made | {"root": root}


def write(directory: Path, modalities: tuple[str, ...], **sizes: object) -> Path:
    """A quantized model directory with random weights."""
    config = configuration(architecture(**sizes), modalities)
    module = models.create(config, seed=3)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    packed = quantization.quantize(module.quantizable(), "here")
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    directory.mkdir()
    models.save(
        storage.tensors_of(packed, others),
        {**config, "quantization_config": storage.describe(packed)},
        directory / "model.safetensors",
        directory / "config.json",
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(directory / name, (directory.parent / "ready" / name).read_bytes())
    return directory


@pytest.mark.parametrize(("name", "modalities"), PROGRAMS)
def test_the_text_computes_what_the_whole_numbers_say(folders: dict[str, Path], name: str, modalities: tuple[str, ...]):
    loaded = processor.load(folders[name])
    inputs = samples(5, modalities)
    inputs[1, -1] = 0  # a modality is absent
    inputs[2, -len(modalities) :] = 0  # all are
    expected = loaded.program.run(inputs)
    tables = {step.table: step.table_VD.flatten().tolist() for step in loaded.program.steps if isinstance(step, Means)}
    text = (folders[name] / "program.txt").read_text()
    outputs = loaded.program.steps[-1].target
    for row, logits in zip(inputs.int().tolist(), expected.tolist(), strict=True):
        simulator = Simulator(text, memory(loaded.program.size, {0: row, **tables}))
        simulator.run()
        assert simulator.memory[outputs : outputs + 10] == [int(logit) for logit in logits]
        assert simulator.executed > 500
    assert expected.abs().max() <= WORD and len(expected.unique()) > 10


@pytest.mark.parametrize(("name", "modalities"), PROGRAMS)
def test_whole_numbers_are_near_the_packed_model(folders: dict[str, Path], name: str, modalities: tuple[str, ...]):
    packed = quantization.load(folders["root"] / name, "float")
    inputs = samples(32, modalities)
    found = parity.compare(packed, processor.load(folders[name]), Prompts(inputs, 0))
    largest = float(packed(inputs)[0].detach().abs().max())
    assert 0 < found.max_logit_difference < 0.02 * largest
    assert found.greedy_equal > 0.9


def test_digits_lie_in_words_of_48_bits():
    assert processor_words.encode(np.zeros(1, np.int8)) == 0x492492492492.to_bytes(6, "little")
    digits = np.random.default_rng(1).integers(-2, 3, 37).astype(np.int8)
    data = processor_words.encode(digits)
    assert len(data) == processor_words.size(37) == 18
    assert (processor_words.decode(data, 37) == digits).all()
    word = int.from_bytes(data[:6], "little")
    assert [(word >> 3 * i & 7) - 2 for i in range(16)] == digits[:16].tolist()


def test_words_that_are_no_digits_are_refused():
    with pytest.raises(ValueError, match="the code 7 is no digit"):
        processor_words.decode(bytes([255] * 6), 16)
    with pytest.raises(ValueError, match="16 digits where 17"):
        processor_words.decode(processor_words.encode(np.zeros(16, np.int8)), 17)
    with pytest.raises(ValueError, match=r"digits must be -2..2"):
        processor_words.encode(np.array([3], np.int8))


def test_a_program_that_is_not_the_one_of_its_numbers_is_refused(folders: dict[str, Path], tmp_path: Path):
    for file in folders["mlp"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "program.txt").read_text()
    (tmp_path / "program.txt").write_text(text.replace("SUB P4, P4, P1", "ADD P4, P4, P1", 1))
    with pytest.raises(UserError, match=r"program.txt is not the program of program.json and weights.bin"):
        processor.load(tmp_path)


def test_another_fusion_is_refused_with_a_sentence(folders: dict[str, Path], tmp_path: Path):
    directory = write(folders["root"] / "gated", ("image", "audio"), fusion="gated", image_channels=(2,), audio_channels=(2,))
    with pytest.raises(UserError, match="a processor program knows the fusions concat and add, not gated"):
        processor.export(weights.dense(directory), Source("gated", directory, folders["root"] / "ready"), tmp_path)

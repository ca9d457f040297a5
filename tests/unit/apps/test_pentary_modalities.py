"""Texts, images and recordings: what their processors make of them, and fusions that learn from any subset."""

import numpy as np
import pytest
import torch

from pipeline.apps.pentary import AudioProcessor, ImageProcessor, MultimodalFusion, PentaryModel, PentaryTrainer, TextProcessor
from pipeline.apps.pentary.figures import large_samples
from pipeline.data.digits import mel
from pipeline.errors import UserError
from pipeline.models.pentary.fusion import METHODS


def picture(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_types_and_orders_of_one_picture_are_the_same():
    made, image = ImageProcessor(), picture()
    wanted = made.process(image)
    assert wanted.shape == (3, 32, 32) and wanted.dtype == np.float32
    for other in (image.transpose(2, 0, 1), image / 255.0, (image / 255).astype(np.float32), image.astype(np.float64)):
        np.testing.assert_allclose(made.process(other), wanted, atol=1e-5)


def test_a_picture_is_normalized_by_imagenets_means():
    white = ImageProcessor((4, 4)).process(np.full((9, 9, 3), 255, np.uint8))
    np.testing.assert_allclose(white[:, 2, 2], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-5)


def test_dark_pictures_are_scaled_and_none_is_changed_in_place():
    dark = np.ones((8, 8, 3), np.uint8)
    assert float(ImageProcessor().process(dark).max()) < -1, "1 of 255 is nearly black"
    image = (picture() / 255).astype(np.float32)
    before = image.copy()
    ImageProcessor().process(image)
    assert np.array_equal(image, before)


def test_resizing_averages_what_it_shrinks():
    checkered = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = ImageProcessor((8, 8), channels=1).process(checkered)
    assert float(np.abs(small[0, 2:6, 2:6] - (0.5 - 0.449) / 0.226).max()) < 0.1


def test_grey_and_colour():
    grey = np.full((6, 6), 100, np.uint8)
    assert np.array_equal(ImageProcessor().process(grey), ImageProcessor().process(np.repeat(grey[..., None], 3, 2)))
    assert ImageProcessor((5, 4), channels=1).process(picture()).shape == (1, 5, 4)


@pytest.mark.parametrize("shape", [(3, 9, 3), (1, 9, 1), (3, 3, 1)])
def test_an_order_that_could_be_either_must_be_said(shape):
    with pytest.raises(UserError, match="could have its channels first or last: say channel_order"):
        ImageProcessor().process(np.zeros(shape, np.uint8))
    assert ImageProcessor(channel_order="first" if shape[0] in (1, 3) else "last").process(np.zeros(shape, np.uint8)).shape == (3, 32, 32)


@pytest.mark.parametrize(
    "image", [np.zeros((5, 6, 2), np.uint8), np.zeros(5, np.uint8), np.zeros((5, 5), np.int32), np.full((5, 5), np.inf)]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(UserError):
        ImageProcessor().process(image)


@pytest.mark.parametrize("hertz", [200, 800, 2500])
def test_a_tone_is_in_the_band_of_its_frequency(hertz):
    """Band centres are evenly spaced on the mel scale of O'Shaughnessy, 2595 log10(1 + f / 700)."""

    def on_mel(frequency: float) -> float:
        return 2595 * np.log10(1 + frequency / 700)

    wave = np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
    levels = AudioProcessor().process(wave.astype(np.float32))
    assert levels.shape == (mel.FRAMES, mel.BANDS)
    spacing = (on_mel(mel.HIGHEST) - on_mel(mel.LOWEST)) / (mel.BANDS + 1)
    expected = (on_mel(hertz) - on_mel(mel.LOWEST)) / spacing - 1
    assert abs(float(levels[16].argmax()) - expected) <= 1


def test_loudness_and_stereo_do_not_matter():
    wave = np.random.default_rng(0).standard_normal(9000).astype(np.float32) / 5
    made = AudioProcessor()
    np.testing.assert_allclose(made.process(wave / 50), made.process(wave), atol=0.02)
    assert np.array_equal(made.process(np.stack([wave, wave], 1)), made.process(wave))
    with pytest.raises(UserError, match="a recording of shape"):
        made.process(np.array([]))


def test_texts_are_tokens_of_a_trained_tokenizer():
    made = TextProcessor(vocab_size=300, max_length=6)
    before = made.process("banana")
    made.fit(["banana"] * 9)
    after = made.process("BANANA")
    assert before.tolist() != after.tolist() and (after > 0).sum() < (before > 0).sum() == 6
    assert made.process("a" * 99).shape == (6,) and made.process("").tolist() == [0] * 6
    with pytest.raises(UserError, match="is no text"):
        made.process(3)


@pytest.mark.parametrize("method", METHODS)
def test_every_fusion_learns_and_answers_with_any_subset(method):
    """Each modality alone tells the class."""
    y = np.arange(60) % 3
    chance = np.random.default_rng(0)
    images = np.clip(np.array([20, 120, 230])[y][:, None, None] + chance.integers(-15, 15, (60, 6, 6)), 0, 255).astype(np.uint8)
    data = {"text": [("red", "green", "blue")[label] for label in y], "image": list(images)}
    data["text"][5] = data["image"][7] = None
    fusion = MultimodalFusion(["text", "image"], method, common=8, image=ImageProcessor((4, 4), channels=1))
    width = fusion.get_output_shape()[0]
    assert width == (64 + 16 if method == "concat" else 8)
    trainer = PentaryTrainer(PentaryModel(width, 3, [8]), fusion=fusion)
    trainer.train((data, y), epochs=12, batch_size=10, verbose=False)
    assert trainer.validate(data, y)[1] >= 0.9
    for name in ("text", "image"):
        alone = [i for i in range(60) if data[name][i] is not None]
        _, accuracy = trainer.validate({name: [data[name][i] for i in alone]}, y[alone])
        assert accuracy > 0.6, f"{name} alone is better than chance"


def test_hiding_leaves_something_of_each_sample():
    fusion = MultimodalFusion(["text", "image"], image=ImageProcessor((2, 2), channels=1))
    inputs = fusion.inputs([{"text": "a", "image": picture()}, {"text": "b"}] * 100)
    hidden = fusion.hide(inputs, 0.5, torch.Generator().manual_seed(0))
    assert bool((hidden[:, -2:].sum(1) >= 1).all()) and bool((hidden[:, -2:] <= inputs[:, -2:]).all())
    assert int((hidden[::2, -2:].sum(1) == 1).sum()) >= 50 and torch.equal(hidden[:, :-2], inputs[:, :-2])
    assert bool((hidden[1::2, -2] == 1).all()), "what is all that there is stays"


def test_the_same_seed_fuses_the_same():
    sample = {"text": "one two", "image": picture()}
    fused = [MultimodalFusion(["text", "image"], "gated", seed=seed).process(sample) for seed in (1, 1, 2)]
    assert np.array_equal(fused[0], fused[1]) and not np.allclose(fused[0], fused[2])


MISTAKES = {
    "an unknown modality": (lambda: MultimodalFusion(["smell"]), r"modalities = \['smell'\]: name some of text, image, audio"),
    "one twice": (lambda: MultimodalFusion(["text", "text"]), "each once"),
    "none": (lambda: MultimodalFusion([]), "name at least one modality"),
    "a method": (lambda: MultimodalFusion(["text"], "mean"), "fusion_method 'mean' is none of concat, add"),
    "an empty sample": (lambda: MultimodalFusion(["text"]).inputs([{"text": "a"}, {}]), "sample 1 has none of the modalities text"),
    "no samples": (lambda: MultimodalFusion(["text"]).inputs([]), "sample 0 has none"),
    "lengths": (lambda: MultimodalFusion(["text", "image"]).inputs({"text": ["a"], "image": []}), "different numbers of samples"),
    "a width": (lambda: PentaryTrainer(PentaryModel(5, 2), use_multimodal=True, modalities=["text"]), r"makes 64 numbers.*input_dim=64"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence(mistake):
    call, says = MISTAKES[mistake]
    with pytest.raises(UserError, match=says):
        call()


def test_batches_are_single_samples_side_by_side():
    data = large_samples(3)
    fusion = MultimodalFusion(["text", "image", "audio"])
    together = fusion.inputs(data)
    assert together.shape == (3, fusion.features) and together[:, -3:].tolist() == [[1, 1, 1]] * 3
    single = fusion.inputs([{name: column[1] for name, column in data.items()}])
    np.testing.assert_allclose(together[1:2].numpy(), single.numpy(), atol=1e-6)

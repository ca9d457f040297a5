"""Sampling: exact greedy text, distributions that are what was asked for, windows that slide without losing text."""

import pytest
import torch

from pipeline.models.generation import choose, generate, stream
from tests.unit.models import tiny

LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0]])


def frequencies(**options: float) -> torch.Tensor:
    drawn = choose(LOGITS.expand(20_000, -1), generator=torch.Generator().manual_seed(3), **options)
    return torch.bincount(drawn, minlength=4) / len(drawn)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert choose(LOGITS).tolist() == [0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    torch.testing.assert_close(frequencies(temperature=temperature), (LOGITS[0] / temperature).softmax(0), atol=0.015, rtol=0)


def test_top_k_keeps_the_k_likeliest_in_their_proportions() -> None:
    torch.testing.assert_close(
        frequencies(temperature=1.0, top_k=2), torch.cat((LOGITS[0, :2].softmax(0), torch.zeros(2))), atol=0.015, rtol=0
    )


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert (frequencies(temperature=1.0, top_k=99) > 0).all()


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    """The probabilities are 0.61, 0.22, 0.14, 0.03."""
    assert (frequencies(temperature=1.0, top_p=0.6) > 0).tolist() == [True, False, False, False]
    assert (frequencies(temperature=1.0, top_p=0.65) > 0).tolist() == [True, True, False, False]
    assert (frequencies(temperature=1.0, top_p=0.9) > 0).tolist() == [True, True, True, False]


def test_greedy_text_is_that_of_whole_forwards() -> None:
    module, text = tiny.model(), [3, 1, 4]
    answer = generate(module, [text], 9)[0]
    for _ in range(9):
        text = [*text, int(module(torch.tensor([text]))[0][0, -1].argmax())]
    assert answer == text[3:]


def test_a_batch_answers_as_each_prompt_alone_whatever_their_lengths() -> None:
    module, prompts = tiny.model(), [[1, 2], [3], [5, 6], [7, 8, 9], [2]]
    assert generate(module, prompts, 6) == [generate(module, [prompt], 6)[0] for prompt in prompts]


def test_an_answer_ends_with_the_end_of_text() -> None:
    module = tiny.model()
    plain = generate(module, [[1, 2], [3, 4]], 8)
    eos = plain[0][3]
    cut = generate(module, [[1, 2], [3, 4]], 8, eos=eos)
    assert cut[0] == plain[0][: plain[0].index(eos) + 1]
    assert cut[1] == (plain[1][: plain[1].index(eos) + 1] if eos in plain[1] else plain[1])


def test_text_grows_beyond_the_context_and_each_token_follows_from_its_window() -> None:
    module, text = tiny.model(), [3, 1, 4, 1, 5]
    answer = generate(module, [text], 30)[0]
    assert len(answer) == 30
    seen = list(text)
    for token in answer:
        assert token == int(module(torch.tensor([seen]))[0][0, -1].argmax())
        seen.append(token)
        if len(seen) > tiny.CONTEXT:
            seen = seen[-tiny.CONTEXT // 2 :]


def test_a_prompt_longer_than_the_context_counts_by_its_end() -> None:
    module, prompt = tiny.model(), tiny.tokens(1, 40)[0].tolist()
    assert generate(module, [prompt], 5) == generate(module, [prompt[-tiny.CONTEXT :]], 5)


def test_draws_belong_to_the_generator_that_is_given() -> None:
    module = tiny.model()

    def draw(seed: int) -> list[list[int]]:
        return generate(module, [[1], [2]], 10, temperature=1.0, generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stream_goes_on_for_ever() -> None:
    drawn = stream(tiny.model(), torch.tensor([[1], [2]]))
    assert all(next(drawn).shape == (2,) for _ in range(3 * tiny.CONTEXT))


def test_an_empty_prompt_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        generate(tiny.model(), [[]], 3)

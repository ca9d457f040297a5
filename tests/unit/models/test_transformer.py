"""The transformer: the same function by every way of asking, and Qwen3's function."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from pipeline import models
from pipeline.models import transformer
from pipeline.models.transformer import rotary
from tests.unit.models import tiny

SHAPES = [{}, {"num_attention_heads": 4, "num_key_value_heads": 2}, {"head_dim": 4, "tie_word_embeddings": False, "rope_theta": 100.0}]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("cuts", [[12], [1] * 12, [5, 1, 1, 3, 2]])
def test_logits_by_way_of_the_cache_are_those_of_the_whole_text(changes: dict[str, object], cuts: list[int]) -> None:
    module, text = tiny.model(**changes).double(), tiny.tokens(3, tiny.CONTEXT)
    whole, none = module(text)
    state = module.initial_state(3, tiny.CONTEXT)
    parts = []
    for part in text.split(cuts, 1):
        logits, state = module(part, state)
        parts.append(logits)
    assert none is None
    assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("changes", SHAPES)
def test_a_token_does_not_see_what_follows_it(changes: dict[str, object]) -> None:
    module, text = tiny.model(**changes), tiny.tokens(1, 8)
    other = text.clone()
    other[0, 5] = (other[0, 5] + 1) % tiny.VOCABULARY
    first, second = module(text)[0], module(other)[0]
    assert_close(first[:, :5], second[:, :5], atol=0, rtol=0)
    assert ((first[:, 5:] - second[:, 5:]).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("changes", SHAPES)
def test_transformers_computes_the_same_from_the_directory(changes: dict[str, object], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    module, text = tiny.model(**changes), tiny.tokens(2, tiny.CONTEXT)
    models.save(module.state_dict(), module.config, tmp_path / "model.safetensors", tmp_path / "config.json")
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert_close(module(text)[0], theirs(text).logits, atol=1e-5, rtol=0)


def test_written_out_attention_is_torch_s() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(1))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert_close(transformer.attend(q, k, v), theirs, atol=1e-6, rtol=0)


def test_rotation_depends_on_distance_only() -> None:
    cosine, sine = rotary.rotary_tables(10, 8, 10000.0)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))
    turn = lambda x, p: rotary.rotate(x.view(1, 1, 1, 8), cosine[p : p + 1], sine[p : p + 1])  # noqa: E731
    assert_close((turn(q, 7) * turn(k, 4)).sum(), (turn(q, 3) * turn(k, 0)).sum())
    assert_close(turn(q, 5).norm(), q.norm())


def test_a_new_model_starts_as_the_identity_of_its_embedding() -> None:
    """Layers write nothing at first, so logits are the normed embedding times the embedding."""
    module = models.create(tiny.config(), seed=1)
    text, table = tiny.tokens(2, 6), module.model.embed_tokens.weight
    assert_close(module(text)[0], module.model.norm(table[text]) @ table.T)


def test_initial_weights_depend_on_seed_and_name_only() -> None:
    one, same, other = (models.create(tiny.config(num_hidden_layers=n), seed=s).state_dict() for n, s in ((1, 1), (2, 1), (1, 2)))
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(one[name], other[name])


def test_more_tokens_than_context_or_cache_are_refused() -> None:
    module = tiny.model()
    with pytest.raises(ValueError, match="do not fit"):
        module(tiny.tokens(1, tiny.CONTEXT + 1))
    with pytest.raises(ValueError, match="do not fit"):
        module(tiny.tokens(1, 5), module.initial_state(1, 4))


def test_every_matrix_is_quantizable_and_the_tied_one_is_listed_once() -> None:
    tied, untied = tiny.model().quantizable(), tiny.model(tie_word_embeddings=False).quantizable()
    assert len(tied) == 1 + 2 * 7
    assert set(untied) - set(tied) == {"lm_head.weight"}
    assert all(matrix.dim() == 2 for matrix in untied.values())


def test_hidden_matrices_leave_out_embedding_and_output() -> None:
    names = set(tiny.model(tie_word_embeddings=False).hidden_matrices())
    assert names == {name for name in tiny.model().quantizable() if "layers" in name}

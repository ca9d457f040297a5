"""Splits that leak nothing and meet their shares."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import duplicates, splits
from pipeline.schema.data import Split

SPLIT = Split(method="documents", validation=0.1, test=0.1)


def test_share_of_many_groups_is_met_and_depends_on_the_group_alone() -> None:
    chosen = {str(i): splits.by_hash(1, str(i), SPLIT) for i in range(10_000)}
    for name in ("validation", "test"):
        assert abs(sum(value == name for value in chosen.values()) - 1000) < 150
    assert all(splits.by_hash(1, key, SPLIT) == value for key, value in reversed(chosen.items()))
    assert any(splits.by_hash(2, key, SPLIT) != value for key, value in chosen.items())


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 1000), min_size=3, max_size=40), st.integers(0, 99))
def test_few_groups_come_as_close_to_the_shares_as_whole_groups_allow(sizes: dict[str, int], seed: int) -> None:
    chosen = splits.by_size(seed, sizes, SPLIT)
    assert chosen == splits.by_size(seed, dict(sorted(sizes.items(), reverse=True)), SPLIT)
    total, largest = sum(sizes.values()), max(sizes.values())
    for name, share in (("validation", 0.1), ("test", 0.1)):
        filled = sum(size for group, size in sizes.items() if chosen[group] == name)
        assert filled > 0
        assert abs(filled - share * total) <= largest


def test_no_test_share_means_no_test_documents() -> None:
    chosen = splits.by_size(1, dict.fromkeys("abcdefghij", 5), Split(method="documents", validation=0.2, test=0.0))
    assert sorted(chosen.values()) == ["train"] * 8 + ["validation"] * 2


def test_contiguous_cuts() -> None:
    assert splits.contiguous_cuts(1_115_394, Split(validation=0.1, test=0.0)) == (1_003_854, 1_115_394)
    assert splits.contiguous_cuts(100, Split(validation=0.25, test=0.25)) == (50, 75)


WORDS = [f"word{i}" for i in range(20)]


def test_near_duplicates_share_a_group_and_strangers_do_not() -> None:
    text = " ".join(f"{word}{i % 7}" for i, word in enumerate(WORDS * 20))
    edited = text.replace(f"{WORDS[13]}3", "other", 1).upper()
    other = " ".join(f"{word}{i % 11}" for i, word in enumerate(WORDS * 20))
    group = duplicates.groups([("a", text), ("b", other), ("c", edited), ("d", "short"), ("e", "short"), ("f", ""), ("g", "")])
    assert group == {"a": "a", "b": "b", "c": "a", "d": "d", "e": "d", "f": "f", "g": "g"}


def test_a_document_that_resembles_two_groups_joins_them() -> None:
    first, second = ([f"{name}{i}" for i in range(60)] for name in "xy")
    documents = [("a", " ".join(first)), ("b", " ".join(second)), ("c", " ".join(first + second))]
    assert duplicates.resemblance(duplicates.sketch(documents[0][1]), duplicates.sketch(documents[1][1])) == 0
    joined = duplicates.groups([*documents[:2], ("c", " ".join(first + second[:40])), ("d", " ".join(first[20:] + second))])
    assert len(set(joined.values())) < 4
    assert joined["c"] == joined["a"]


@given(st.integers(0, 100))
def test_resemblance_estimates_the_share_of_common_runs(common: int) -> None:
    first = " ".join(f"w{i}" for i in range(100 + duplicates.RUN - 1))
    second = " ".join([f"w{i}" for i in range(common + duplicates.RUN - 1)] + [f"z{i}" for i in range(100 - common)])
    a, b = duplicates.sketch(first), duplicates.sketch(second)
    truth = common / (200 - common)
    assert abs(duplicates.resemblance(a, b) - truth) < 0.2

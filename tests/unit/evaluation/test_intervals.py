import pytest

from pipeline.evaluation.intervals import wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857-872), Table I, method 3, rounded to four places there
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_narrows_with_trials():
    low, high = wilson(30, 100)
    assert (1 - high, 1 - low) == pytest.approx(wilson(70, 100))
    assert high - low > 3 * (wilson(3000, 10000)[1] - wilson(3000, 10000)[0])


def test_ends_are_exact():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_is_refused(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} of {trials}"):
        wilson(successes, trials)

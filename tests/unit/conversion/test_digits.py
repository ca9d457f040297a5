import numpy as np
import pytest

from pipeline.conversion import digits, numpy_program

LEVELS = (3, 4, 5, 7, 9, 15, 256)


def random_digits(levels, rows=7, columns=23):
    return np.random.default_rng(levels).integers(-(levels // 2), levels - levels // 2, (rows, columns)).astype(np.int8)


def test_as_many_digits_as_fit_in_a_byte():
    assert [digits.per_byte(levels) for levels in LEVELS] == [5, 4, 3, 2, 2, 2, 1]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("columns", [1, 4, 23])
def test_the_table_reads_what_was_encoded(levels, columns):
    original = random_digits(levels, columns=columns)
    codes = digits.encode(original, levels)
    assert codes.dtype == np.uint8 and codes.shape == (7, -(-columns // digits.per_byte(levels)))
    filled = digits.table(levels)[codes].reshape(7, -1)
    assert np.array_equal(filled[:, :columns], original)
    assert not filled[:, columns:].any()


@pytest.mark.parametrize("levels", LEVELS)
def test_the_numpy_program_reads_what_was_encoded(levels):
    original, scale = random_digits(levels, columns=24), np.array([[1.0, 2.0, 0.5]] * 7, np.float32)
    matrix = numpy_program.decode(digits.encode(original, levels), scale, levels, 24)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, original * scale.repeat(8, axis=1))


def test_a_digit_of_more_levels_is_refused():
    with pytest.raises(ValueError, match=r"digits must be -2\.\.2"):
        digits.encode(np.array([[3]], np.int8), 5)

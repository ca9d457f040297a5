"""Digits as bytes, and bytes as zlib streams: the same back, what is none refused, and as short as their entropy."""

import time
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ops.reference import CODES
from pipeline.quantization import stream


def drawn(levels, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, levels, (count,), generator=generator) - levels // 2).to(torch.int8)


def test_a_byte_holds_as_many_digits_as_it_can():
    assert stream.DIGITS.keys() == CODES.keys()
    assert all(levels**digits <= 256 < levels ** (digits + 1) for levels, digits in stream.DIGITS.items())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(CODES)), st.integers(0, 40), st.integers(0, 99))
def test_digits_come_back(levels, count, seed):
    digits = drawn(levels, count, seed)
    data = stream.bytes_of(digits, levels)
    assert data.dtype == torch.uint8 and len(data) == stream.size(count, levels)
    assert torch.equal(stream.digits_of(data, count, levels), digits)
    offset, places = levels // 2, stream.DIGITS[levels]
    expected = [sum((int(w) + offset) * levels**i for i, w in enumerate(digits[at : at + places])) for at in range(0, count, places)]
    if count % places == 0:
        assert data.tolist() == expected


@pytest.mark.parametrize("levels", CODES)
def test_every_byte_means_one_thing_or_is_refused(levels):
    places = stream.DIGITS[levels]
    for value in range(256):
        data = torch.tensor([value], dtype=torch.uint8)
        for count in range(1, places + 1):
            try:
                digits = stream.digits_of(data, count, levels)
            except ValueError:
                digits = None
            else:
                assert torch.equal(stream.bytes_of(digits, levels), data)
            if count == places:
                assert (digits is None) == (value >= levels**places)


def test_another_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="7 digits take 3 bytes, not 2"):
        stream.digits_of(torch.zeros(2, dtype=torch.uint8), 7, 5)


def test_a_section_takes_about_its_entropy():
    """Five levels as often as in trained matrices, behind a section of another kind."""
    share = torch.tensor([0.1, 0.23, 0.34, 0.23, 0.1])
    digits = (torch.multinomial(share, 300_000, replacement=True, generator=torch.Generator().manual_seed(1)) - 2).to(torch.int8)
    scales = torch.full((4000,), 9, dtype=torch.uint8)
    found = stream.compress({}, [[scales], [stream.bytes_of(digits, 5)]])
    entropy = -(share * share.log2()).sum().item() * len(digits) / 8
    assert entropy < len(found) - 4000 / 8 < 1.01 * entropy


def test_streams_come_back_and_are_the_same_each_time():
    parts = [torch.arange(200, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8), torch.ones(7, dtype=torch.uint8)]
    found = stream.compress({"ä": [1, 0.5]}, [parts[:2], parts[2:]])
    assert torch.equal(found, stream.compress({"ä": [1, 0.5]}, [parts[:2], parts[2:]]))
    described, rest = stream.described(found)
    assert described == {"ä": [1, 0.5]} and torch.equal(stream.inflate(rest, 207), torch.cat(parts))
    assert stream.inflate(stream.described(stream.compress({}, []))[1], 0).numel() == 0


def test_hostile_streams_cost_no_more_than_their_size():
    """Ten million times as much is described, and a thousand times as much lies in the stream, as the file is long."""
    bomb = zlib.compress(bytes(10**8), 9)
    start = time.process_time()
    with pytest.raises(ValueError, match="its description is cut off or has more than 1048576 bytes"):
        stream.described(torch.frombuffer(bytearray(bomb), dtype=torch.uint8))
    with pytest.raises(ValueError, match="100000000 bytes are described, more than"):
        stream.inflate(bomb, 10**8)
    with pytest.raises(ValueError, match="it does not end after the 1000 bytes"):
        stream.inflate(bomb, 1000)
    assert time.process_time() - start < 0.5

"""Which of llama.cpp's types a matrix gets, and that `gguf` reads the same numbers out of it, digit for digit."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from pipeline.conversion import gguf_file, gguf_packed
from pipeline.conversion.weights import Matrix
from pipeline.data import tokenizers


def matrix(levels, columns, groups=1, rows=6):
    generator = torch.Generator().manual_seed(levels * columns + groups)
    digits = torch.randint(-(levels // 2), levels - levels // 2, (rows, columns), generator=generator, dtype=torch.int8)
    scale = (torch.rand(rows, groups, generator=generator) / 8).bfloat16().float()
    return Matrix(digits, scale, levels)


@pytest.mark.parametrize(
    ("levels", "columns", "groups", "kind"),
    [
        (3, 512, 1, Kind.TQ2_0),
        (3, 96, 1, Kind.Q4_0),
        (4, 256, 1, Kind.Q3_K),
        (5, 512, 2, Kind.Q3_K),
        (5, 512, 4, Kind.Q4_0),
        (5, 96, 1, Kind.Q4_0),
        (7, 256, 1, Kind.Q3_K),
        (9, 256, 1, Kind.Q4_0),
        (15, 64, 1, Kind.Q4_0),
        (256, 64, 2, Kind.Q8_0),
        (5, 40, 1, Kind.F16),
        (256, 40, 1, Kind.F32),
    ],
)
def test_the_smallest_type_that_is_exact(levels, columns, groups, kind):
    original = matrix(levels, columns, groups)
    array, found = gguf_packed.data(original)
    assert found == kind
    read = gguf.quants.dequantize(array, found)
    assert np.array_equal(read, original.dense().numpy())
    assert np.array_equal(np.round(read / original.scale_RK.numpy()), original.digits_RK.numpy())


def test_types_are_as_small_as_said():
    sizes = {found.kind: 8 * gguf.GGML_QUANT_SIZES[found.kind][1] / gguf.GGML_QUANT_SIZES[found.kind][0] for found in gguf_packed.TYPES}
    assert [round(size, 2) for size in sizes.values()] == [2.06, 3.44, 4.5, 8.5]
    array, _ = gguf_packed.data(matrix(5, 256))
    assert array.nbytes == 6 * 110


def test_a_scale_that_is_no_float16_stays_exact():
    original = matrix(5, 64)
    original.scale_RG[0] = 1 / 3
    array, kind = gguf_packed.data(original)
    assert kind == Kind.F32 and np.array_equal(array, original.dense().numpy())


def test_zero_rows_and_one_digit_only():
    for digit in (0, -2):
        original = Matrix(torch.full((2, 256), digit, dtype=torch.int8), torch.tensor([[0.0], [0.25]]), 5)
        array, kind = gguf_packed.data(original)
        assert np.array_equal(gguf.quants.dequantize(array, kind), original.dense().numpy())


def test_bytes_are_spelled_as_the_tokenizers_library_does():
    from tokenizers import pre_tokenizers

    letters = gguf_file.alphabet()
    assert sorted(letters.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("a b\n", "Weiß – 日本", "\x00\x7f"):
        assert gguf_file.spell(text) == splitter.pre_tokenize_str(text)[0][0]


def fields(tokenizer, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "vocabulary.gguf", "qwen3")
    gguf_file.add_tokenizer(writer, tokenizer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    reader = gguf.GGUFReader(tmp_path / "vocabulary.gguf")
    return {key.removeprefix("tokenizer.ggml."): field.contents() for key, field in reader.fields.items()}


def reads(found, text):
    """Ids as llama.cpp finds them: words of the text, byte-level merges, and no id for what is not in the list."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in found["merges"]]
    steps = {"gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)}
    words = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(words), "isolated")
    steps["qwen2"] = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    known = {token: id for id, token in enumerate(found["tokens"])}
    partial = {left + right for left, right in merges} | {part for merge in merges for part in merge}
    everything = known | {part: len(known) + i for i, part in enumerate(sorted(partial - known.keys()))}
    backend = Tokenizer(models.BPE(everything, merges))
    backend.pre_tokenizer = steps[found["pre"]]
    return [id for id in backend.encode(text).ids if id < len(known)]


TEXT = "Der Weg – weiß\n  er 12 Mal ...\n日本 ab"


def test_characters_get_their_ids(tmp_path):
    tokenizer = tokenizers.characters(TEXT, unknown=True)
    found = fields(tokenizer, tmp_path)
    assert reads(found, TEXT) == tokenizer.encode(TEXT)
    assert found["eos_token_id"] == tokenizer.eos and found["add_bos_token"] is False
    assert [found["token_type"][id] for id in (tokenizer.unknown, tokenizer.eos, 0)] == [2, 3, 1]


def test_an_alphabet_of_ascii_still_has_merges(tmp_path):
    tokenizer = tokenizers.characters("abc")
    found = fields(tokenizer, tmp_path)
    assert len(found["merges"]) == 1 and reads(found, "cab") == tokenizer.encode("cab")


def test_byte_pairs_get_their_ids(tmp_path):
    tokenizer = tokenizers.byte_pairs([TEXT * 20], 300)
    found = fields(tokenizer, tmp_path)
    assert found["pre"] == "gpt-2"
    assert reads(found, TEXT + "neu!") == tokenizer.encode(TEXT + "neu!")

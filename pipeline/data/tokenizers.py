"""Tokenizers: characters and byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), made and saved by the `tokenizers` library.

What is saved, `tokenizer.json` and `tokenizer_config.json`, is what `transformers.AutoTokenizer` loads, with the same ids. A
character tokenizer is a word-level model over single characters: it raises on a character it does not know, here as there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from pipeline import io
from pipeline.errors import UserError

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
PIECE = 1 << 20
ONE = r"[\s\S]"
"""Any character, for the library's regular expressions."""
LARGEST = 1 << 26
"""Bytes of the largest tokenizer.json that is read."""
NO_MORE = {"normalizer": None, "post_processor": None, "truncation": None, "padding": None}
FORMS = {
    "WordLevel": {"pre_tokenizer": "Split", "decoder": "Fuse", **NO_MORE},
    "BPE": {"pre_tokenizer": "ByteLevel", "decoder": "ByteLevel", **NO_MORE},
}
"""What goes with a model in the files that are made here."""
_CUT = re.compile(r"[A-Za-z](?= [A-Za-z])")

Ids = npt.NDArray[np.int64]


class UnknownCharacter(UserError):
    """A character that the tokenizer has no id for."""

    def __init__(self, text: str, position: int) -> None:
        self.character = text[position]
        super().__init__(
            f"character {self.character!r} (U+{ord(self.character):04X}) at position {position + 1} is not in the tokenizer's alphabet: "
            "remove it, have it in the training text, or set tokenizer.unknown to unk"
        )


class Tokenizer:
    """A trained tokenizer. Text that spells a special token is ordinary text; only the pipeline itself inserts the end-of-text token."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.backend.encode_special_tokens = True
        self.vocab_size: int = backend.get_vocab_size()
        self.eos = _required(backend, END_OF_TEXT)
        self.unknown: int | None = backend.token_to_id(UNKNOWN)
        self._table = self._character_table()

    def _character_table(self) -> npt.NDArray[np.int64] | None:
        """Code point -> id for a character tokenizer, else `None`: a lookup that encodes 5 MB in a few hundredths of a second."""
        if not isinstance(self.backend.model, models.WordLevel):
            return None
        single = {ord(token): id for token, id in self.backend.get_vocab().items() if len(token) == 1}
        if not single:
            return None
        table = np.full(max(single) + 2, -1 if self.unknown is None else self.unknown, dtype=np.int64)
        table[list(single)] = list(single.values())
        return table

    def encode(self, text: str) -> list[int]:
        """Ids of a text; `UnknownCharacter` names character and position where one is unknown and there is no `<unk>`."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> Ids:
        """The same as int64 [tokens]."""
        if self._table is None:
            return np.array(self.backend.encode(text).ids, dtype=np.int64)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids = self._table[np.minimum(points, len(self._table) - 1)]
        if len(ids) and ids.min() < 0:
            raise UnknownCharacter(text, int(np.argmax(ids < 0)))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Several texts at once, on all cores where the library does the work."""
        if self._table is not None:
            return [self.encode_array(text) for text in texts]
        return [np.array(encoding.ids, dtype=np.int64) for encoding in self.backend.encode_batch_fast(list(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; raises `ValueError` for an id outside the vocabulary."""
        listed = [int(id) for id in ids]
        if any(not 0 <= id < self.vocab_size for id in listed):
            raise ValueError(f"ids must lie in 0..{self.vocab_size - 1}")
        return str(self.backend.decode(listed, skip_special_tokens=False))

    def save(self, tokenizer: Path, settings: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`."""
        io.write_bytes(tokenizer, (self.backend.to_str(pretty=True) + "\n").encode())
        unknown = {"unk_token": UNKNOWN} if self.unknown is not None else {}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "clean_up_tokenization_spaces": False}
        io.write_json(settings, config | unknown)


def _required(backend: Backend, token: str) -> int:
    id = backend.token_to_id(token)
    if id is None:
        raise UserError(f"the tokenizer has no token {token!r}: run the stage that makes it again")
    return int(id)


def load(directory: Path) -> Tokenizer:
    """Read the tokenizer of a data set or model directory; raises `UserError`."""
    return _read(directory / "tokenizer.json", "run the stage that makes it (`dvc repro` runs all that is needed)")


def _read(path: Path, remedy: str) -> Tokenizer:
    """The tokenizer of a file; raises `UserError` for one that `Tokenizer.save` cannot have written."""
    if not path.is_file():
        raise UserError(f"{path} is missing: {remedy}")
    state = io.read_json(path, LARGEST)
    try:
        _check(state)
        return Tokenizer(Backend.from_str(json.dumps(state)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} is not a tokenizer ({error}): {remedy}") from None


def _check(state: Any) -> None:
    """Raise `ValueError` for a tokenizer.json that is not made as those of this file are: none of the library's other parts is run."""
    if not isinstance(state, dict) or state.get("version") != "1.0":
        raise ValueError(f"version is {state.get('version') if isinstance(state, dict) else None!r}, not '1.0'")
    model, added = state.get("model"), state.get("added_tokens")
    if not isinstance(model, dict) or not isinstance(form := model.get("type"), str) or form not in FORMS:
        raise ValueError(f"model.type is not one of {', '.join(FORMS)}")
    for key, wanted in FORMS[form].items():
        part = state.get(key)
        if (part.get("type") if isinstance(part, dict) else part) != wanted:
            raise ValueError(f"{key} is {part!r}, not {wanted!r}")
    if form == "WordLevel" and state["pre_tokenizer"].get("pattern") != {"Regex": ONE}:
        raise ValueError(f"pre_tokenizer.pattern is {state['pre_tokenizer'].get('pattern')!r}, not {ONE!r}")
    if not isinstance(model.get("vocab"), dict) or not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ValueError("model.vocab and added_tokens do not list tokens")
    _check_ids({**model["vocab"], **{str(token.get("content")): token.get("id") for token in added}})


def _check_ids(vocabulary: Any) -> None:
    """Raise `ValueError` where the tokens' ids are not 0, 1, 2, ...: the library would make room for the largest."""
    ids: list[Any] = list(vocabulary.values()) if isinstance(vocabulary, dict) else [None]
    if not all(type(id) is int for id in ids) or sorted(ids) != list(range(len(ids))):
        raise ValueError(f"the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}")


def characters(alphabet: Iterable[str], unknown: bool = False) -> Tokenizer:
    """One id a character in the order of code points, then `<unk>` if wanted, then the end-of-text token. Raises `UserError` for none."""
    vocabulary = {character: id for id, character in enumerate(sorted(set(alphabet)))}
    if not vocabulary:
        raise UserError("a character tokenizer needs at least one character: give it a text that is not empty")
    if unknown:
        vocabulary[UNKNOWN] = len(vocabulary)
    backend = Backend(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ONE), "isolated")
    backend.decoder = decoders.Fuse()
    special = [UNKNOWN, END_OF_TEXT] if unknown else [END_OF_TEXT]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(backend)


def byte_pairs(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE trained on `texts`, with GPT-2's word pattern; any text can be encoded."""
    backend = _byte_level(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return Tokenizer(backend)


def gpt2(path: str) -> Tokenizer:
    """GPT-2's tokenizer from a folder with vocab.json and merges.txt, or from the hub by name; raises `UserError`."""
    vocabulary, merges = (_gpt2_file(path, name) for name in ("vocab.json", "merges.txt"))
    try:
        _check_ids(io.read_json(Path(vocabulary), LARGEST))
        backend = _byte_level(models.BPE.from_file(vocabulary, merges))
        backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
        _check(json.loads(backend.to_str()))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{vocabulary} and {merges} are not GPT-2's tokenizer ({error}): fetch them again") from None
    return Tokenizer(backend)


def _gpt2_file(path: str, name: str) -> str:
    if Path(path).is_dir():
        if not (file := Path(path) / name).is_file():
            raise UserError(f"{file} is missing: the folder tokenizer.path must have vocab.json and merges.txt")
        return str(file)
    import huggingface_hub

    try:
        return str(huggingface_hub.hf_hub_download(path, name))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"tokenizer.path = {path!r} is no folder, and the hub did not give its {name} ({reason}): name a folder") from None


def _byte_level(model: Any) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def pieces(text: str, length: int = PIECE) -> Iterator[str]:
    """A long text in parts of about `length` characters, cut between a word and a space before a word.

    GPT-2's word pattern takes such a space together with what follows it, so the cut changes no token.
    """
    start = 0
    while len(text) - start > length:
        cut = _CUT.search(text, start + length)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    if start < len(text):
        yield text[start:]


class CharacterTokenizer:
    """The small face of a character tokenizer: `fit`, `encode`, `decode`, `save_state`, `load_state`."""

    def __init__(self) -> None:
        self._tokenizer: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer behind this face; raises `UserError` before `fit` or `load_state`."""
        if self._tokenizer is None:
            raise UserError("this CharacterTokenizer knows no character yet: call fit(text) or load_state(filepath) first")
        return self._tokenizer

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def fit(self, text: str) -> Self:
        """Learn the alphabet: every character of `text`."""
        self._tokenizer = characters(text)
        return self

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        return self.tokenizer.decode(ids)

    def save_state(self, filepath: str | Path) -> None:
        """Write the state as JSON, in the form of `tokenizer.json`."""
        io.write_bytes(Path(filepath), (self.tokenizer.backend.to_str(pretty=True) + "\n").encode())

    def load_state(self, filepath: str | Path) -> Self:
        """Read what `save_state` wrote; raises `UserError`."""
        self._tokenizer = _read(Path(filepath), "save it again with save_state(filepath)")
        return self

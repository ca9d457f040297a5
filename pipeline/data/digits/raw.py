"""Raw digits: images out of scikit-learn, made-up sentences, and recordings, as documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.digits import CLASSES, recordings, speech, stream
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched
from pipeline.schema.data import DigitsDataset, FsddAudio

WORDS = """
a able across afternoon again almost also always among and apple around asked away back basket because been before began behind below
bench beside best better big bird blue boat book both bread bridge bright bring brown build but buy call came can car carry cat chair
change child city clean clear clock close cloud coat cold come corner could country cup cut dark day deep did dinner dog door down draw
dream drink drive dry each early earth easy eat edge egg end enough evening every eye face fall family far farm fast father feel few field
fill find fire fish floor flower fly follow food foot forest found fresh friend from front full game garden gave get give glad glass go
gold good grass great green ground grow half hand happy hard have hear heart heavy help her here high hill his hold home horse hot hour
house how ice idea inside into island its jump just keep kind king kitchen know lake lamp land large last late laugh lead leaf learn leave
left letter light like line list listen little long look lost love low made make many map market may mean meet milk mind moon more morning
most mother mountain move much music must name near neck need never new next night north not nothing now ocean off often old only open
orange order other our outside over page paint paper park part past path pay people picture piece place plan plant play please point poor
pull push put queen question quick quiet rain reach read ready red remember rest rice ride right ring river road rock room rose round row
run sail salt same sand saw say school sea seat second see seed sell send set shade she ship shoe shop short show side sing sit sky sleep
slow small smile snow soft some song soon sound south space speak spring stand star start station stay step still stone stop story street
strong summer sun sure swim table take talk tall tea tell than that their them then there they thing think this those time to today
together told took top town train travel tree true try turn under until up upon use valley very visit voice wait walk wall want warm wash
watch water way wear week weight well west wet what wheel when where while white who wide will wind window winter wish with woman wood
word work world would write year yellow yes yesterday you young
""".split()  # noqa: SIM905
"""What number words stand among."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def fetch(block: DigitsDataset, seed: int, downloads: Path) -> Fetched:
    """The documents of all modalities that the block names, in the order of their ids; raises `UserError`."""
    provenance: dict[str, Any] = {"kind": "digits"}
    parts: list[Iterator[Document]] = []
    if "audio" in block.modalities:
        source = block.audio
        found = recordings.fetch(source, downloads) if isinstance(source, FsddAudio) else speech.generate(source, seed)
        parts.append(found.documents)
        provenance["audio"] = found.provenance
    if "image" in block.modalities:
        parts.append(images())
        provenance["image"] = {"kind": "scikit-learn", "name": "digits"}
    if "text" in block.modalities:
        parts.append(sentences(block, seed))
        provenance["text"] = {"kind": "generated"}
    return Fetched((document for part in parts for document in part), provenance)


def images() -> Iterator[Document]:
    """scikit-learn's 1,797 digits by hand, 8 x 8 pixels of 0 to 16 (UCI's optical recognition of handwritten digits, test part)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = sorted(range(len(data.target)), key=lambda i: (int(data.target[i]), i))
    for i in order:
        pixels = " ".join(str(int(pixel)) for pixel in data.images[i].ravel())
        yield Document(f"image/{data.target[i]}/{i:05d}", f"P2 8 8 16 {pixels}")


def sentences(block: DigitsDataset, seed: int) -> Iterator[Document]:
    """As many sentences of each digit: its word at any place among others, and each letter mistyped with probability `typos`."""
    chance = stream(seed, "sentences")
    for digit, number in enumerate(CLASSES):
        for i in range(-(-block.sentences // len(CLASSES))):
            words = [WORDS[k] for k in chance.integers(0, len(WORDS), int(chance.integers(block.words // 2, block.words)))]
            words.insert(int(chance.integers(0, len(words) + 1)), number)
            yield Document(f"text/{digit}/{i:05d}", _mistyped(" ".join(words), block.typos, chance))


def _mistyped(text: str, share: float, chance: np.random.Generator) -> str:
    wrong = chance.random(len(text)) < share
    letters = chance.integers(0, len(LETTERS), len(text))
    return "".join(LETTERS[k] if bad and c != " " else c for c, bad, k in zip(text, wrong, letters, strict=True))

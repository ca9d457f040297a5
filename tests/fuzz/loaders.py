"""Everything that reads a file, against damaged files: `python -m tests.fuzz.loaders [--seconds 60] [LOADER ...]`.

A loader either reads what it is given or refuses it by one sentence that names the file, in bounded time and memory. A new one is a line of
`LOADERS`: what writes valid files, what reads them, what uses what was read. `--case LOADER NUMBER` runs one case again, in this process.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tests.fuzz import library_seeds, seeds
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.worker import Loader, run

MODULE = "tests.fuzz.loaders"

LOADERS = {
    "float_model": Loader(seeds.float_model, seeds.read_float_model, seeds.predict),
    "gru_model": Loader(seeds.gru_model, seeds.read_float_model, seeds.predict),
    "quantized_model": Loader(seeds.quantized_model, seeds.read_quantized_model, seeds.predict),
    "shard": Loader(seeds.shard, seeds.read_shard),
    "checkpoint": Loader(seeds.checkpoint, seeds.read_checkpoint),
    "characters": Loader(seeds.characters, seeds.read_tokenizer, seeds.tokenize),
    "byte_pairs": Loader(seeds.byte_pairs, seeds.read_tokenizer, seeds.tokenize),
    "gpt2": Loader(seeds.gpt2, seeds.read_gpt2, seeds.tokenize),
    "dataset": Loader(seeds.dataset, seeds.read_dataset, seeds.calculate),
    "documents": Loader(seeds.documents, seeds.read_documents),
    "rows": Loader(seeds.rows, seeds.read_rows),
    "archive": Loader(seeds.archive, seeds.read_archive),
    "events": Loader(seeds.events, seeds.read_events),
    "parameters": Loader(seeds.parameters, seeds.read_parameters),
    "tinyllm": Loader(seeds.tinyllm, seeds.read_tinyllm),
    "realnet": Loader(seeds.realnet, seeds.read_realnet, seeds.think, refusals=(seeds.UserError, ValueError)),
    "pentary_folder": Loader(library_seeds.pentary_folder, library_seeds.read_pentary_folder, library_seeds.use_samples),
    "pentary_model": Loader(library_seeds.pentary_model, library_seeds.read_pentary("net"), library_seeds.classify),
    "pentary_json": Loader(library_seeds.pentary_json, library_seeds.read_pentary("net.json"), library_seeds.classify),
    "neurogen": Loader(
        library_seeds.neurogen, library_seeds.read_neurogen, library_seeds.learn_on, refusals=(seeds.UserError, RuntimeError, ValueError)
    ),
    "export_numpy": Loader(seeds.export("numpy"), seeds.read_export("numpy"), seeds.predict),
    "export_json": Loader(seeds.export("json"), seeds.read_export("json"), seeds.predict, files="model.json"),
    "export_c": Loader(seeds.export("c"), seeds.read_export("c"), seeds.predict),
    "export_gguf": Loader(seeds.export("gguf_packed"), seeds.read_export("gguf_packed"), seeds.predict, files="model.gguf"),
    "export_onnx": Loader(seeds.export("onnx_packed"), seeds.read_export("onnx_packed"), files="model.onnx", heavy=True),
    "export_torch": Loader(seeds.export("torch_export"), seeds.read_export("torch_export"), files="model.pt2", heavy=True),
    "export_hugging": Loader(seeds.export("huggingface"), seeds.read_export("huggingface"), seeds.predict, heavy=True),
    "export_packed": Loader(seeds.export("huggingface_packed"), seeds.read_export("huggingface_packed"), seeds.predict, heavy=True),
    "parquet": Loader(seeds.parquet, seeds.read_parquet, heavy=True),
}


def again(name: str, case: int) -> str:
    """How one case ends in this process, without limits."""
    with tempfile.TemporaryDirectory() as root:
        valid = Path(root) / "valid"
        valid.mkdir()
        LOADERS[name].make(valid)
        return run(LOADERS[name], name, case, valid, Path(root) / "damaged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loaders", nargs="*", help=", ".join(LOADERS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", nargs=2, metavar=("LOADER", "NUMBER"))
    given = parser.parse_args()
    if given.case:
        print(again(given.case[0], int(given.case[1])))
        return
    with Fuzzer(MODULE, given.loaders or list(LOADERS)) as fuzzer:
        known = set()
        for finding in fuzzer.until(given.seconds, given.first):
            kind = finding.loader, re.sub(r"\d+|'.*'|/tmp/\S+", "", finding.what.strip().splitlines()[-1])
            if kind not in known:
                print(f"--case {finding.loader} {finding.case}: {finding.what}", flush=True)
            known.add(kind)
    for name in fuzzer.loaders:
        print(f"{name:16} {fuzzer.outcomes[name, 'read']:6} read  {fuzzer.outcomes[name, 'refused']:6} refused")
    sys.exit(bool(known))


if __name__ == "__main__":
    main()

"""`python -m tests.browser.pictures`: the README's pictures, docs/report.png and docs/mlflow.png, of this project's report and its runs."""

import argparse
import tempfile
import time
from pathlib import Path

from PIL import Image

from tests.browser.chromium import Browser, browser
from tests.browser.pages import PATIENCE, served, visit

WIDTH = 1200
"""Pixels of a picture's width."""
DOCS = Path("docs")


def main() -> None:
    """Write both pictures into the working directory's docs/, which is a project with a report and a store of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--view", default="results", help="view of the runs: results, language, arithmetic or classification")
    view = parser.parse_args().view
    DOCS.mkdir(exist_ok=True)
    with browser(WIDTH, 1000) as page:
        page.open((Path.cwd() / "report/index.html").as_uri())
        page.wait("bits", seconds=PATIENCE)
        save(page, DOCS / "report.png")
    with served(Path.cwd()) as address, browser(1680, 760) as page:
        visit(page, address.replace("viewStateShareKey=results", f"viewStateShareKey={view}"))
        page.wait("matching runs", "Run Name", "ago", seconds=PATIENCE)
        time.sleep(3)  # the table's columns take their widths
        save(page, DOCS / "mlflow.png")


def save(page: Browser, path: Path) -> None:
    """The visible part of a page, as wide as the README shows it."""
    with tempfile.TemporaryDirectory() as folder:
        page.picture(Path(folder) / "whole.png")
        with Image.open(Path(folder) / "whole.png") as whole:
            size = WIDTH, round(whole.height * WIDTH / whole.width)
            whole.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

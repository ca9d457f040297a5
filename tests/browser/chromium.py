"""Debian's Chromium without a window, driven by chromedriver: W3C WebDriver is HTTP with JSON, so it needs no package of Python's."""

import base64
import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.services import debian

ARGUMENTS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars", "disable-dev-shm-usage"),
    *("disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps", "disable-extensions"),
)
STARTED = re.compile(rb"successfully on port (\d+)")


class Browser:
    """One page, which is asked by JavaScript."""

    def __init__(self, driver: str, session: str) -> None:
        self.address = f"{driver}/session/{session}"

    def open(self, url: str) -> None:
        ask(f"{self.address}/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a script `return`s."""
        return ask(f"{self.address}/execute/sync", {"script": script, "args": []})

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.run("return document.body ? document.body.innerText : ''"))

    def wait(self, *texts: str, seconds: float = 60) -> str:
        """The page's text once all `texts` are in it; `AssertionError` names those that did not come."""
        until = time.monotonic() + seconds
        while True:
            shown = self.text()
            missing = [text for text in texts if text not in shown]
            if not missing:
                return shown
            if time.monotonic() > until:
                raise AssertionError(f"{self.run('return location.href')} does not show {missing} after {seconds:.0f} s, but:\n{shown}")
            time.sleep(0.3)

    def click(self, text: str, selector: str = "button, a, [role=tab], span, label, div") -> None:
        """Click the innermost element whose whole text this is."""
        script = f"""
            const all = [...document.querySelectorAll({json.dumps(selector)})];
            const fit = all.filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)});
            const found = fit.at(-1); if (found) found.click(); return !!found;"""
        if not self.run(script):
            raise AssertionError(f"{self.run('return location.href')} has nothing to click that says {text!r}:\n{self.text()}")

    def picture(self, path: Path) -> None:
        """The visible part of the page as PNG."""
        path.write_bytes(base64.b64decode(ask(f"{self.address}/screenshot")))


def ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """A command of WebDriver and its answer's value."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read().decode()[:500]}") from None


@contextlib.contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[Browser]:
    """A browser with a profile of its own, installed where it is missing (`tests.services`), and gone at the end."""
    debian("chromium", "chromium-driver", commands=("chromium", "chromedriver"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = {**os.environ, "HOME": folder, "TMPDIR": folder}
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, env=home, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{_port(driver)}"
            options = {"args": [*ARGUMENTS, f"user-data-dir={folder}/profile", f"window-size={width},{height}"]}
            asked = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
            session = ask(f"{address}/session", asked)["sessionId"]
            page = Browser(address, session)
            yield page
            ask(page.address, method="DELETE")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, 9)
            driver.wait()


def _port(driver: "subprocess.Popen[bytes]") -> int:
    assert driver.stdout
    for line in driver.stdout:
        if found := STARTED.search(line):
            return int(found[1])
    raise AssertionError("chromedriver did not start")

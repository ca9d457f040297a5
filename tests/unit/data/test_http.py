"""Downloads against a server of this machine that misbehaves in every way that servers do."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.data.documents import Document
from pipeline.data.sources import fetch, http
from pipeline.errors import UserError
from pipeline.schema.data import HttpSource

DATA = "".join(f"line {i} of the text\n" for i in range(20_000)).encode()
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers each request by the next function of `script` (the last one again and again)."""

    protocol_version = "HTTP/1.1"
    script: list[Callable[["Handler"], None]]
    ranges: list[str | None]

    def do_GET(self) -> None:
        self.ranges.append(self.headers.get("Range"))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        answer(self)

    def give(self, data: bytes, status: int = 200, announced: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if announced is None else announced))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        if announced is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def whole(handler: Handler) -> None:
    handler.give(DATA)


def resumable(handler: Handler) -> None:
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    if not start:
        handler.give(DATA)
    elif start >= len(DATA):
        handler.give(b"", 416)
    else:
        handler.give(DATA[start:], 206, Content_Range=f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")


def cut(handler: Handler) -> None:
    handler.give(DATA[:100_000], announced=len(DATA))


def cut_again(handler: Handler) -> None:
    handler.give(DATA[100_000:150_000], 206, len(DATA) - 100_000, Content_Range=f"bytes 100000-{len(DATA) - 1}/{len(DATA)}")


def without_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(DATA)
    handler.close_connection = True


def page(handler: Handler) -> None:
    handler.give(b"\n<!DOCTYPE html><html><title>Please log in</title></html>", Content_Type="text/html")


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.give(b"no", code)


class Server:
    def __init__(self, folder: Path) -> None:
        self.handler = type("Scripted", (Handler,), {"script": [whole], "ranges": []})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.server.handle_error = lambda *_: None  # clients that hang up are part of the play
        self.downloads = folder / "downloads"
        self.url = f"http://127.0.0.1:{self.server.server_port}/data/text.txt?x=1"

    def get(self, *script: Callable[[Handler], None], **values: object) -> list[Document]:
        self.handler.script, self.handler.ranges = list(script), []
        source = HttpSource(**({"kind": "http", "url": self.url, "sha256": SHA256} | values))
        return list(fetch(source, self.downloads).documents)

    @property
    def part(self) -> Path:
        return self.downloads / f"{SHA256}.part"

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.downloads.glob("*") if path.suffix != ".lock")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv(http.MIRROR, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "sleep", lambda seconds: None)
    started = Server(tmp_path)
    thread = threading.Thread(target=started.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield started
    started.server.shutdown()
    thread.join()
    started.server.server_close()


EXPECTED = [Document("text.txt", DATA.decode())]


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([whole], [None]),
        ([without_length], [None]),
        ([status(500), status(503), whole], [None] * 3),
        ([status(429), whole], [None] * 2),
        ([cut, resumable], [None, "bytes=100000-"]),
        ([cut, cut_again, resumable], [None, "bytes=100000-", "bytes=150000-"]),
        ([cut, whole], [None, "bytes=100000-"]),
        ([cut, status(416), whole], [None, "bytes=100000-", None]),
    ],
    ids=["at once", "without length", "500 then 503", "429", "cut", "cut twice", "no ranges there", "range refused"],
)
def test_data_arrive(server: Server, script: list, ranges: list) -> None:
    assert server.get(*script) == EXPECTED
    assert server.handler.ranges == ranges
    assert server.kept() == [SHA256]


def test_a_second_run_needs_no_network(server: Server) -> None:
    server.get(whole)
    assert server.get(status(500)) == EXPECTED
    assert server.handler.ranges == []


def test_what_an_interrupted_run_left_is_used(server: Server) -> None:
    server.downloads.mkdir()
    server.part.write_bytes(DATA[:123_456])
    assert server.get(resumable) == EXPECTED
    assert server.handler.ranges == ["bytes=123456-"]


def test_a_part_that_was_complete_is_used(server: Server) -> None:
    server.downloads.mkdir()
    server.part.write_bytes(DATA)
    assert server.get(status(500)) == EXPECTED
    assert server.handler.ranges == []


def test_a_part_of_another_version_is_thrown_away(server: Server) -> None:
    server.downloads.mkdir()
    server.part.write_bytes(b"other" * 1000)
    assert server.get(resumable) == EXPECTED
    assert server.handler.ranges == ["bytes=5000-", None]


@pytest.mark.parametrize(
    ("script", "values", "message"),
    [
        ([whole], {"sha256": "0" * 64}, f"has SHA-256 {SHA256}, but {'0' * 64} is pinned"),
        ([page], {}, "gave a web page instead of the data"),
        ([status(404)], {}, r"gave status 404 Not Found: correct the address"),
        ([status(500)], {}, r"cannot be had after 6 attempts \(status 500\): check the connection, or put the file"),
        ([cut, status(503)], {}, r"after 6 attempts \(status 503\)"),
        ([whole], {"max_bytes": 1000}, rf"has at least {len(DATA)} bytes, more than max_bytes = 1000"),
        ([without_length], {"max_bytes": 1000}, r"more than max_bytes = 1000: raise the limit"),
        ([lambda handler: handler.give(b"<html>", 200)], {}, "web page"),
        ([lambda handler: handler.give(DATA[:1000])], {}, "has SHA-256"),
    ],
    ids=["wrong hash", "web page", "404", "always 500", "cut, then 503", "too large", "too large, no length", "html", "truncated silently"],
)
def test_nothing_is_kept_of_a_failure_and_the_sentence_says_why(server: Server, script: list, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        server.get(*script, **values)
    assert not any(name in (SHA256, "0" * 64) for name in server.kept())


def test_attempts_are_spaced_further_and_further(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http, "sleep", pauses.append)
    with pytest.raises(UserError, match="after 6 attempts"):
        server.get(status(500))
    assert pauses == [0.5, 1, 2, 4, 8]
    assert len(server.handler.ranges) == 6


def test_no_network(server: Server) -> None:
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(UserError, match=r"cannot be had after 6 attempts .*QUINTET_MIRROR"):
        server.get(whole)


def test_archives_are_opened(server: Server, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("in/a.txt", "A")
        file.writestr("in/b.md", "B")
    data = (tmp_path / "a.zip").read_bytes()
    got = server.get(lambda handler: handler.give(data), sha256=hashlib.sha256(data).hexdigest(), include="in/*.md")
    assert got == [Document("in/b.md", "B")]


def test_provenance_is_the_same_with_and_without_a_mirror(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HttpSource(kind="http", url=server.url, sha256=SHA256)
    direct = fetch(source, tmp_path / "one")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/text.txt").write_bytes(DATA)
    monkeypatch.setenv(http.MIRROR, str(tmp_path / "mirror"))
    mirrored = fetch(source, tmp_path / "two")
    assert direct.provenance == mirrored.provenance == {"kind": "http", "url": server.url, "sha256": SHA256, "bytes": len(DATA)}


@pytest.mark.parametrize("name", ["text.txt", "deep/text.txt", "other name.dat", SHA256])
def test_a_mirror_stands_in_by_name_or_by_content(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mirror = tmp_path / "mirror"
    (mirror / name).parent.mkdir(parents=True)
    (mirror / name).write_bytes(DATA)
    (mirror / "a decoy").write_bytes(b"x")
    monkeypatch.setenv(http.MIRROR, str(mirror))
    assert server.get(status(500)) == EXPECTED
    assert server.handler.ranges == []


def test_a_mirror_is_not_trusted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/text.txt").write_bytes(b"something else")
    monkeypatch.setenv(http.MIRROR, str(tmp_path / "mirror"))
    with pytest.raises(UserError, match="is pinned"):
        server.get(whole)
    assert server.kept() == []


def test_a_mirror_without_the_file_is_passed_over_and_one_that_is_not_there_is_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(http.MIRROR, str(tmp_path))
    assert server.get(whole) == EXPECTED
    monkeypatch.setenv(http.MIRROR, str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"QUINTET_MIRROR = '.*none' is not a folder"):
        server.get(whole, sha256="1" * 64)


def test_two_at_once_fetch_once(server: Server) -> None:
    results: list[list[Document]] = []
    server.handler.script, server.handler.ranges = [whole], []
    source = HttpSource(kind="http", url=server.url, sha256=SHA256)
    threads = [threading.Thread(target=lambda: results.append(list(fetch(source, server.downloads).documents))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [EXPECTED] * 4
    assert server.handler.ranges == [None]

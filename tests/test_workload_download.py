"""A trace is fetched over https only, whole, no larger than announced, and only if it is the known file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cbviz.errors import FileError, WorkloadError
from cbviz.workload import PUBLIC_TRACES, fetch_trace
from cbviz.workload.fetching import PublicTrace, download

CONTENT = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.98,4808,10\n"
SUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/file":
            self.answer(CONTENT, len(CONTENT))
        elif self.path == "/short":
            self.answer(CONTENT[:20], len(CONTENT))
        elif self.path == "/endless":
            self.answer(CONTENT * 100, None)
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
        else:
            self.send_error(404)

    def answer(self, content: bytes, announced: int | None) -> None:
        self.send_response(200)
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine, which has no certificate: plain http is allowed for the test."""
    monkeypatch.setattr("cbviz.workload.fetching.URL_SCHEMES", ("https", "http"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()


def test_the_right_file_is_kept(server: str, tmp_path: Path) -> None:
    path = download(f"{server}/file", tmp_path / "trace.csv", SUM.upper())
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.csv"]


@pytest.mark.parametrize(
    ("file", "checksum", "most", "complaint"),
    [
        ("file", "0" * 64, 1000, "is another file than expected"),
        ("file", SUM, 20, "is larger than the 20 bytes allowed"),
        ("endless", SUM, 1000, "is larger than the 1,000 bytes allowed"),
        ("short", SUM, 1000, "broke off|cannot be fetched"),
        ("away", SUM, 1000, "which is not https"),
        ("none", SUM, 1000, "the server answers 404"),
    ],
)
def test_anything_else_leaves_no_file(
    server: str, tmp_path: Path, file: str, checksum: str, most: int, complaint: str
) -> None:
    with pytest.raises((WorkloadError, FileError), match=complaint):
        download(f"{server}/{file}", tmp_path / "trace.csv", checksum, most=most)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "file:///etc/passwd", "ftp://x/y", "https", "", None, 5])
def test_only_https(url: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="must begin with https://"):
        download(url, tmp_path / "x", SUM)


@pytest.mark.parametrize("checksum", ["", "abc", "g" * 64, None])
def test_a_checksum_is_needed(checksum: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="64 hexadecimal digits"):
        download("https://example.org/x", tmp_path / "x", checksum)


def test_a_server_that_is_not_there(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be fetched"):
        download("http://127.0.0.1:9/x", tmp_path / "x", SUM)


def test_a_known_trace_is_fetched_once(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLIC_TRACES, "mine", PublicTrace(f"{server}/file", SUM, len(CONTENT), "CC0-1.0", "me"))
    path = fetch_trace("mine", tmp_path / "new")
    assert (path.name, path.read_bytes()) == ("file", CONTENT)
    monkeypatch.setitem(PUBLIC_TRACES, "mine", PublicTrace("https://192.0.2.1/file", SUM, len(CONTENT), "CC0", "me"))
    assert fetch_trace("mine", tmp_path / "new") == path  # it is there already, so nothing is asked
    with pytest.raises(WorkloadError, match="choose one of azure"):
        fetch_trace("yours", tmp_path)


def test_known_traces_say_what_they_are() -> None:
    for trace in PUBLIC_TRACES.values():
        assert trace.url.startswith("https://")
        assert len(trace.sha256) == 64
        assert 0 < trace.size < 10**7
        assert trace.licence
        assert trace.cite

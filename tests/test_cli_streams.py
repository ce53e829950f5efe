"""The command line's output: it arrives in characters that a stream can take; one that fails costs no work."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cbviz import cli
from cbviz.cli.streams import READER_GONE, STAND_INS, Stream, stand_in

ENCODINGS = ("ascii", "latin-1", "cp1252", "cp437", "utf-8")
RACE = ("race", "--slots", "2", "--requests", "4", "--repeats", "1", "--device", "cpu")
COMMANDS: dict[str, tuple[str, ...]] = {
    "race": RACE,
    "race, quiet": (*RACE, "--quiet"),
    "race, json": (*RACE, "--json"),
    "bench": ("bench", "--slots", "1", "--requests", "2", "--repeats", "1", "--no-profile", "--device", "cpu"),
    "models": ("models",),
    "replay": ("replay", "smollm2-8", "--html", "page.html"),
    "lab": ("lab", "course", "--no-open"),
    "help": ("race", "--help"),
    "version": ("--version",),
    "error": ("race", "--slots", "none"),
    "foreign error": ("race", "--model", "名 × 模型"),
}


class Broken(io.StringIO):
    """A stream that fails: at once when written to (unbuffered), or when flushed (buffered)."""

    def __init__(self, error: Exception, buffered: bool) -> None:
        super().__init__()
        self.error, self.buffered = error, buffered

    def write(self, text: str) -> int:
        if not self.buffered:
            raise self.error
        return super().write(text)

    def flush(self) -> None:
        raise self.error


def call(argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, out: Any, err: Any) -> int:
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    try:
        return cli.main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["race", "race, json", "models", "lab", "help", "version", "error", "foreign error"])
def test_output_arrives_in_any_encoding(
    name: str, encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    code = call(COMMANDS[name], monkeypatch, *streams)
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    assert code == (2 if "error" in name else 0)
    assert (err if code else out).strip()
    assert "?" not in out.replace("? ", ""), "no soup of question marks"
    if name == "race, json":
        assert json.loads(out)["requests"] == 4
    if name == "race":
        assert ("█" in out) == (encoding in ("utf-8", "cp437"))
        assert encoding not in ("ascii", "latin-1", "cp1252") or "##" in out, "the drawing has a stand-in"
    if name == "foreign error":
        assert err.count("\n") == 1
        assert "Traceback" not in err


@pytest.mark.parametrize("text", ["×", "–", "…", "█", "é", "中", "😀", "\udcff", "µs"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_character_has_something_to_stand_in(text: str, encoding: str) -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    stream = Stream(raw)
    assert stream.write(text) == len(text)
    stream.flush()
    written = raw.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert written
    assert "?" not in written
    assert stream.failure is None


def test_stand_ins_are_ascii_and_accents_fall_off() -> None:
    assert all(word.isascii() for word in STAND_INS.values())
    assert stand_in("é", "ascii") == "e"
    assert stand_in("中", "ascii") == "\\u4e2d"


FULL = OSError(errno.ENOSPC, "No space left on device")
GONE = BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("name", ["race, quiet", "race, json", "models", "replay", "lab", "help", "version"])
@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("error", "code"), [(FULL, 2), (GONE, READER_GONE)], ids=["full", "reader gone"])
def test_a_failing_output_gives_a_code_and_costs_no_files(
    name: str, buffered: bool, error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    err = io.StringIO()
    files = ("--quiet", "--html", "race.html", "--save", "traces") if name.startswith("race") else ()
    assert call((*COMMANDS[name], *files), monkeypatch, Broken(error, buffered), err) == code
    said = err.getvalue()
    assert said == (
        "cbviz: the result could not be written to standard output: No space left on device.\n" if code == 2 else ""
    )
    if name == "lab":
        assert len(list(Path("course/en").iterdir())) > 5
    if name == "replay":
        assert Path("page.html").read_text("utf-8").rstrip().endswith("</html>")
    if files:
        assert Path("race.html").read_text("utf-8").rstrip().endswith("</html>")
        assert len(list(Path("traces").iterdir())) == 2


@pytest.mark.parametrize("name", ["race, quiet", "models", "help", "version", "error", "lab"])
def test_without_streams_the_work_is_done_in_silence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As under pythonw, where both are None."""
    monkeypatch.chdir(tmp_path)
    assert call(COMMANDS[name], monkeypatch, None, None) == (2 if name == "error" else 0)
    assert sys.stdout is None


def test_an_error_without_standard_error_does_not_end_up_in_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    assert call(COMMANDS["error"], monkeypatch, out, None) == 2
    assert call(("race", "--policies", "rushed"), monkeypatch, out, None) == 2
    assert out.getvalue() == ""


def test_streams_are_as_before_after_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    call(COMMANDS["models"], monkeypatch, out, err)
    assert (sys.stdout, sys.stderr) == (out, err)
    assert out.getvalue().startswith("tiny")


def test_escape_codes_in_an_argument_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    for argv in (("race", "--model", "\x1b[31mred"), ("race", "--slots", "\x1b]0;title\x07"), ("\x1b[2J",)):
        assert call(argv, monkeypatch, io.StringIO(), err) == 2
    assert "\x1b" not in err.getvalue()
    assert err.getvalue().count("\n") == 3


SHELL: dict[str, tuple[str, int]] = {
    "a reader that has seen enough": ("{cbviz} models | true", READER_GONE),
    "standard output closed": ("{cbviz} models >&-", 0),
    "everything closed": ("{cbviz} lab course --no-open >&- 2>&- <&-", 0),
    "help onto a full disk": ("{cbviz} race --help > /dev/full", 2),
    "both full": ("{cbviz} --version > /dev/full 2>&1", 2),
    "no UTF-8": ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {cbviz} race --model ×", 2),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("name", SHELL)
def test_in_a_shell(name: str, tmp_path: Path) -> None:
    """Once more with true descriptors, where Python itself would complain at its end."""
    line, code = SHELL[name]
    line = line.format(cbviz=f"{sys.executable} -m cbviz")
    ran = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert ran.stderr.count("\n") == (1 if code == 2 and name != "both full" else 0), ran.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["libraries load", "it runs"])
def test_signals_end_a_command_without_a_traceback(number: signal.Signals, when: str, tmp_path: Path) -> None:
    """The code that shells expect, and whole files or none."""
    if when == "libraries load" and not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc to see what a process has loaded")
    argv = [sys.executable, "-m", "cbviz", "race", "--requests", "64", "--repeats", "500", "--save", "kept"]
    with (tmp_path / "err").open("wb") as err:
        # Under nohup, or in the background of a shell, signals are ignored and stay so in what is started there.
        ran = subprocess.Popen(
            argv,
            cwd=tmp_path,
            stdout=err,
            stderr=err,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        )
        try:
            begun = {
                "libraries load": lambda: "libtorch" in Path(f"/proc/{ran.pid}/maps").read_text(),
                "it runs": lambda: "cbviz: " in (tmp_path / "err").read_text("utf-8"),
            }
            while not begun[when]():
                assert ran.poll() is None, (tmp_path / "err").read_text("utf-8")
                time.sleep(0.01)
            ran.send_signal(number)
            code = ran.wait()
        finally:
            ran.kill()  # a test that fails leaves nothing running
    said = (tmp_path / "err").read_text("utf-8")
    assert code == 128 + number, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    import cbviz

    for path in (tmp_path / "kept").glob("*"):
        assert path.suffix == ".cbviz", "no draft is left behind"
        cbviz.load(path)


DROPPED = """
import os, signal, sys, time
from cbviz.cli.signals import signals

class Freed:
    def __del__(self):
        os.kill(os.getpid(), NUMBER)
        time.sleep(0)  # where Python handles it

with signals(own_process=True) as seen:
    try:
        Freed()
        SIGNALS_AGAIN
        print("dropped", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("stopped", seen.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("again", ["", "os.kill(os.getpid(), NUMBER)"], ids=["once", "at the group as well"])
def test_a_signal_that_python_drops_while_it_frees_an_object_comes_again(number: signal.Signals, again: str) -> None:
    """An exception in `__del__` reaches no caller: the command would run on as if nothing had been pressed."""
    ran = subprocess.run(
        [sys.executable, "-c", DROPPED.replace("SIGNALS_AGAIN", again).replace("NUMBER", str(int(number)))],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert ran.stdout.split("\n")[0 if again else 1] == f"stopped {128 + number}", ran.stdout
    assert ran.stdout.count("stopped") == 1
    assert ran.stderr == ""

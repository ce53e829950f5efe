"""Paths: whatever is wrong with one is said in a sentence that names the option, before the work; files are whole."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz import cli, lab, slides
from cbviz import paths as paths_module
from cbviz.errors import CbvizError, FileError
from cbviz.paths import make_folder, new_file, new_folder, path_of, short, write_whole
from tests.clocks import at_once
from tests.fake_runs import wild_trace

LONG = "n" * 300
ANY_BAD = {
    "empty": "",
    "a home that does not exist": "~nobodyhere/x",
    "300 letters": LONG,
    "300 letters on the way": f"{LONG}/x",
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "below a file": "file.txt/x",
    "a link to itself": "circle",
    "a device": "/dev/full",
    "standard output": "-",
    "an escape code": "\x1b[31m/\x1b[2J/x",
}
FILE_BAD = {**ANY_BAD, "a folder": "folder", "no folder": "nowhere/x", "a folder by its end": "new/", "here": "."}
FOLDER_BAD = {**ANY_BAD, "a file": "file.txt"}
del FOLDER_BAD["an escape code"]  # such a folder can be made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("kept")
    Path("folder").mkdir()
    Path("circle").symlink_to("circle")
    return tmp_path


def with_suffix(name: str, suffix: str) -> str:
    return name + suffix if name and name[-1] not in "/.-" and name not in ("folder", "circle", "/dev/full") else name


@pytest.fixture
def refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[tuple[str, ...]], str]:
    """Run a command that must be refused before any model is loaded; gives its one sentence."""
    import cbviz.models

    def too_late(*_: object, **__: object) -> object:
        raise AssertionError("the path is checked before a model is loaded")

    def call(argv: tuple[str, ...]) -> str:
        monkeypatch.setattr(cbviz.models, "load", too_late)
        before = sorted(map(str, here.rglob("*")))
        with at_once():
            try:
                code = cli.main(argv)
            except SystemExit as stop:
                code = int(stop.code or 0)
        assert code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("cbviz: ")
        assert err.count("\n") == 1, err
        assert err.strip().isprintable()
        assert len(err) < 500
        assert sorted(map(str, here.rglob("*"))) == before, "nothing is left behind"
        return err

    return call


@pytest.mark.parametrize("name", FILE_BAD)
def test_a_page_that_cannot_be_written(name: str, refused: Callable[..., str]) -> None:
    assert "--html" in refused(("race", "--html", FILE_BAD[name]))
    assert "--html" in refused(("replay", "smollm2-8", f"--html={FILE_BAD[name]}"))


@pytest.mark.parametrize("name", FOLDER_BAD)
def test_a_folder_that_cannot_be_written(name: str, refused: Callable[..., str]) -> None:
    assert "--save" in refused(("race", f"--save={FOLDER_BAD[name]}"))
    if name not in ("standard output", "empty"):
        assert short(FOLDER_BAD[name]) in refused(("lab", "--no-open", FOLDER_BAD[name]))
        assert short(FOLDER_BAD[name]) in refused(("slides", FOLDER_BAD[name]))


@pytest.mark.parametrize("name", FILE_BAD)
def test_a_trace_that_cannot_be_written(name: str, refused: Callable[..., str]) -> None:
    assert "--save" in refused(("bench", f"--save={FILE_BAD[name]}"))


def test_a_trace_of_another_name_is_refused_at_once(refused: Callable[..., str]) -> None:
    assert "must end in .cbviz" in refused(("bench", "--save", "x.txt"))


def test_one_path_for_a_file_and_a_folder(refused: Callable[..., str]) -> None:
    assert "--html and --save" in refused(("race", "--html", "new", "--save", "./new"))


@pytest.mark.parametrize("name", [*ANY_BAD, "a folder", "missing"])
def test_files_that_cannot_be_read(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**FILE_BAD, "missing": "missing"}[name]
    calls = [("replay", given, "--html", "page.html")] if given != "-" else []
    if name != "standard output":
        calls.append(("race", f"--prompts={given}"))
    if name != "a folder":
        calls.append(("race", f"--model={given}"))
    for argv in calls:
        assert cli.main(argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("cbviz: ")
        assert err.count("\n") == 1, err
        assert err.strip().isprintable()
    assert not Path("page.html").exists()


def test_prompts_from_a_standard_input_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(("race", "--prompts", "-")) == 2
    assert "no standard input" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert cli.main(("race", "--prompts", "-")) == 2
    assert "holds no prompt" in capsys.readouterr().err


def test_a_tilde_is_a_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert path_of("~/x") == here / "x"
    cbviz.Board(wild_trace(1)).to_svg("~/picture.svg")
    assert (here / "picture.svg").read_text("utf-8").startswith("<svg")


TRACE = wild_trace(2)
WRITERS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "svg": (".svg", lambda path: cbviz.Board(TRACE).to_svg(path)),
    "png": (".png", lambda path: cbviz.Board(TRACE).to_png(path)),
    "gif": (".gif", lambda path: cbviz.Board(TRACE).to_gif(path, seconds=0.2)),
    "page": (".html", lambda path: cbviz.Board(TRACE).to_html(path)),
    "trace": (".cbviz", lambda path: TRACE.save(path)),
    "perfetto": (".json", lambda path: TRACE.to_perfetto(path)),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", [*FILE_BAD, "a number", "bytes"])
def test_from_python_it_is_one_sentence_too(kind: str, name: str, here: Path) -> None:
    suffix, write = WRITERS[kind]
    given: Any = {**FILE_BAD, "a number": 5, "bytes": b"name"}[name]
    with pytest.raises(CbvizError) as caught:
        write(with_suffix(given, suffix) if isinstance(given, str) else given)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert sorted(path.name for path in here.iterdir()) == ["circle", "file.txt", "folder"]


@pytest.mark.parametrize("write", [lab.copy, lambda folder: list(slides.export(folder))], ids=["lab", "slides"])
@pytest.mark.parametrize("name", FOLDER_BAD)
def test_folders_from_python(name: str, write: Callable[[str], object], here: Path) -> None:
    if name == "standard output" and write is lab.copy:
        assert lab.copy("-").folder == Path("-", "en"), "from Python that is a name like any other"
        return
    with pytest.raises(CbvizError) as caught:
        write(FOLDER_BAD[name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_write_that_fails_or_is_interrupted_changes_nothing(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, write = WRITERS[kind]
    path = here / f"kept{suffix}"
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    for fails, expected in ((full, CbvizError), (interrupted, KeyboardInterrupt)):
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(expected):
            write(path)
        assert path.read_text() == "before"
    monkeypatch.undo()
    write(path)
    assert path.read_bytes() != b"before"
    assert not [entry for entry in here.iterdir() if entry.name.startswith(".cbviz")]


def test_a_file_that_is_replaced_keeps_its_permissions_and_links(here: Path) -> None:
    path = here / "secret.txt"
    path.write_text("old")
    path.chmod(0o600)
    (here / "link").symlink_to("secret.txt")
    write_whole(here / "link", "new")
    assert (here / "link").is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (here / "dangling").symlink_to("folder/made")
    write_whole("dangling", b"through")
    assert (here / "folder" / "made").read_bytes() == b"through"
    umask = os.umask(0)
    os.umask(umask)
    write_whole("fresh", "x")
    assert stat.S_IMODE(Path("fresh").stat().st_mode) == 0o666 & ~umask


def test_what_is_write_protected_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may write everything: permissions are asked for in one place."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for call in (lambda: new_file("file.txt"), lambda: write_whole("file.txt", "gone")):
        with pytest.raises(FileError, match="write-protected"):
            call()
    assert Path("file.txt").read_text() == "kept"

    def read_only(**_: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(paths_module.tempfile, "TemporaryFile", read_only)
    for call in (lambda: new_file("new.txt"), lambda: new_folder("deep/new"), lambda: make_folder("deep/new")):
        with pytest.raises(FileError, match="Read-only file system"):
            call()
    assert not Path("deep").exists()


def race_that_ended() -> cbviz.Race:
    return cbviz.race("tiny", ["static", "continuous"], slots=2, requests=3, repeats=0, live=False)


def test_one_file_that_fails_costs_no_other(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result has been printed by then, the sentence names the file, the code says that something went wrong."""
    from cbviz.view import player

    def no_page(*_: object, **__: object) -> str:
        raise FileError("race.html cannot be written: No space left on device.")

    monkeypatch.setattr(player, "html", no_page)
    (here / "traces" / "0-static.cbviz").mkdir(parents=True)
    argv = ("race", "--slots", "2", "--requests", "3", "--repeats", "1", "--html", "race.html", "--save", "traces")
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert "answers are the same" in out
    assert "cbviz: race.html cannot be written: No space left on device.\n" in err
    assert "0-static.cbviz cannot be written: it is a folder.\n" in err
    assert cbviz.load("traces/1-continuous.cbviz").meta.policy == "continuous"
    assert not Path("race.html").exists()


def test_an_interrupt_while_files_are_written_leaves_whole_ones(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    from cbviz.view import player

    monkeypatch.setattr(player, "html", interrupted)
    argv = ("race", "--slots", "2", "--requests", "3", "--repeats", "1", "--html", "race.html", "--json")
    assert cli.main(argv) == 130
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert err.endswith("cbviz: interrupted; every file is complete, or as it was before.\n")
    assert not Path("race.html").exists()


def test_a_policy_of_any_name_can_be_saved(here: Path) -> None:
    race = race_that_ended()
    race.names = (f"{'ü' * 300}/../\0", "\ud800..")
    saved = race.save("traces")
    assert [path.parent for path in saved] == [Path("traces")] * 2
    assert all(cbviz.load(path).meta.slots == 2 for path in saved)

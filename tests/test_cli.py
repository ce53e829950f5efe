"""The command line: one JSON object and nothing else, one sentence for every mistake, and Ctrl-C at any time."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cbviz
from cbviz import cli
from cbviz.cli import main

Run = Callable[..., tuple[int, str, str]]
SMALL = ("race", "--slots", "2", "--requests", "5", "--device", "cpu")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; gives exit code, stdout, stderr."""

    def call(*argv: str) -> tuple[int, str, str]:
        try:
            code = cli.main(argv)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"cbviz {cbviz.__version__}\n", "")


def test_models_lists_each_name_with_one_line(run: Run) -> None:
    code, out, err = run("models")
    assert (code, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines()]
    assert listed[:2] == ["tiny", "smollm2-135m"]
    assert "random:llama-3.1-8b" in listed
    assert all(len(line.split()) > 3 for line in out.splitlines()), "each name comes with an explanation"


BAD = {
    "no command": (),
    "unknown command": ("rase",),
    "unknown option": ("race", "--fast"),
    "slots 0": ("race", "--slots", "0"),
    "slots negative": ("race", "--slots", "-3"),
    "slots NaN": ("race", "--slots", "NaN"),
    "slots not whole": ("race", "--slots", "2.5"),
    "requests 0": ("race", "--requests", "0"),
    "seed negative": ("race", "--seed", "-1"),
    "repeats 0": ("race", "--repeats", "0"),
    "max-new-tokens 0": ("race", "--max-new-tokens", "0"),
    "block-size 0": ("race", "--block-size", "0"),
    "kv-blocks too few": ("race", "--kv-blocks", "1"),
    "kv-tokens below a block": ("race", "--kv-tokens", "15"),
    "kv-tokens beside kv-blocks": ("race", "--kv-tokens", "800", "--kv-blocks", "50"),
    "no policy": ("race", "--policies", ""),
    "a policy without a name": ("race", "--policies", "static,,continuous"),
    "unknown policy": ("race", "--policies", "static,rushed"),
    "unknown model": ("race", "--model", "no-such-model"),
    "unknown shape": ("race", "--model", "random:no-such-shape"),
    "empty model": ("race", "--model", ""),
    "unknown device": ("race", "--device", "abacus"),
    "unknown dtype": ("race", "--dtype", "int7"),
    "prompts missing": ("race", "--prompts", "no-such-file.txt"),
    "prompts a folder": ("race", "--prompts", "."),
    "prompts empty": ("race", "--prompts", "empty.txt"),
    "prompts not text": ("race", "--prompts", "bytes.txt"),
    "prompt too long": ("race", "--prompts", "long.txt"),
    "html in no folder": ("race", "--html", "nowhere/race.html"),
    "html a folder": ("race", "--html", "."),
    "save on a file": ("race", "--save", "empty.txt"),
}


@pytest.mark.parametrize("argv", BAD.values(), ids=BAD)
def test_bad_input_gives_exit_code_2_and_one_sentence(
    argv: tuple[str, ...], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n  \n")
    Path("bytes.txt").write_bytes(b"good\n\xff\xfe\x00bad")
    Path("long.txt").write_text("count to 5 " * 20_000)
    code, out, err = run(*argv)
    assert code == 2, err
    assert out == ""
    assert err.startswith("cbviz: "), err
    assert err.endswith(".\n"), err
    assert err.count("\n") == 1, f"one line, not\n{err}"


def test_json_is_one_object_and_nothing_else(run: Run) -> None:
    code, out, _ = run(*SMALL, "--seed", "3", "--repeats", "1", "--json")
    assert code == 0
    result = json.loads(out)
    assert set(result) >= {
        "model", "device", "slots", "requests", "seed", "clock", "lag", "repeats", "lanes",
        "iteration_ratio", "speedup", "speedup_range", "identical_outputs", "divergences",
    }  # fmt: skip
    assert (result["model"], result["slots"], result["requests"], result["seed"]) == ("tiny", 2, 5, 3)
    assert (result["lag"], result["repeats"]) == (0, 1)
    first, last = result["lanes"]
    for lane in (first, last):
        assert set(lane) >= {"policy", "iterations", "seconds", "output_tokens", "occupancy", "tokens_per_second"}
        assert 0 < lane["occupancy"] <= 1
        assert lane["tokens_per_second"] == pytest.approx(lane["output_tokens"] / lane["seconds"])
    assert [first["policy"], last["policy"]] == ["static", "continuous"]
    assert result["iteration_ratio"] == pytest.approx(first["iterations"] / last["iterations"])
    assert first["output_tokens"] == last["output_tokens"]
    assert result["identical_outputs"] is True
    assert result["divergences"] == []
    assert set(result["table"]) == {"static", "continuous"}
    assert result["table"]["static"]["iterations"] == first["iterations"]
    low, high = result["speedup_range"]
    assert low <= result["speedup"] <= high


def test_what_libraries_print_never_reaches_the_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import cbviz.experiments.race as module

    honest = module.race

    def chatty(*args: object, **options: object) -> object:
        print("a library chats")
        os.write(1, b"and so does its C code\n")
        return honest(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "race", chatty)
    code, out, err = run(*SMALL, "--repeats", "1", "--json")
    assert code == 0
    json.loads(out)
    assert "a library chats" in err
    assert "and so does its C code" in err


def test_the_result_for_people(run: Run) -> None:
    code, out, err = run(*SMALL, "--repeats", "2")
    assert (code, err) == (0, "")
    assert "static took" in out
    assert "All 5 answers are the same" in out
    for word in ("iterations", "seconds", "occupancy", "tokens/s", "tiny on cpu, 2 slots, 5 requests, seed 0"):
        assert word in out
    quiet = run(*SMALL, "--repeats", "1", "--quiet")[1]
    assert len(quiet.splitlines()) < len(out.splitlines()), "--quiet leaves the drawing out"


def test_three_lanes_and_one_lane(run: Run) -> None:
    _, out, _ = run(*SMALL, "--repeats", "1", "--policies", "static,continuous,static", "--json")
    result = json.loads(out)
    assert len(result["lanes"]) == 3
    assert result["iteration_ratio"] == 1
    _, out, _ = run(*SMALL, "--repeats", "1", "--policies", "continuous")
    assert "took" not in out, "one lane is compared with nobody"


def test_your_own_prompts(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("Count to 3\n\n  Count to 12\n", "utf-8")
    code, out, _ = run("race", "--prompts", str(file), "--slots", "2", "--device", "cpu", "--repeats", "1", "--json")
    assert code == 0
    assert json.loads(out)["requests"] == 2


def test_files_are_written(run: Run, tmp_path: Path) -> None:
    page, folder = tmp_path / "race.html", tmp_path / "traces"
    code, out, _ = run(*SMALL, "--repeats", "1", "--html", str(page), "--save", str(folder))
    assert code == 0
    assert str(page) in out
    assert str(folder) in out
    assert "<html" in page.read_text("utf-8")
    traces = [cbviz.load(path) for path in sorted(folder.iterdir()) if path.suffix != ".json"]
    assert {trace.meta.policy for trace in traces} == {"static", "continuous"}


@pytest.fixture
def ctrl_c_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT to this process in the middle of the eleventh iteration, as Ctrl-C does."""
    from cbviz.experiments.lane import Lane

    honest, steps = Lane.step, itertools.count()

    def step(lane: Lane) -> object:
        if next(steps) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(lane)

    monkeypatch.setattr(Lane, "step", step)


@pytest.mark.usefixtures("ctrl_c_soon")
def test_ctrl_c_says_what_is_gone(run: Run) -> None:
    code, out, err = run("race", "--slots", "2", "--device", "cpu", "--json")
    assert (code, out) == (130, "")
    assert "cbviz: interrupted; the " in err
    assert err.endswith("iterations that had been run are gone (with --save DIR they would have been kept).\n")


@pytest.mark.usefixtures("ctrl_c_soon")
def test_ctrl_c_keeps_the_traces_where_a_folder_was_given(run: Run, tmp_path: Path) -> None:
    code, out, err = run("race", "--slots", "2", "--device", "cpu", "--save", str(tmp_path / "kept"))
    assert (code, out) == (130, "")
    assert err.rstrip().endswith(f"iterations that had been run are in {tmp_path / 'kept'}.")
    (file,) = (tmp_path / "kept").iterdir()
    trace = cbviz.load(file)
    assert len(trace.iterations) >= 6, "the iterations before the interrupt, less those that warmed up"
    assert (trace.requests.reason == -1).any(), "it had not come to its end"


def test_ctrl_c_before_the_race(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import cbviz.models

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(cbviz.models, "load", interrupted)
    assert run("race") == (130, "", "cbviz: interrupted; nothing was kept.\n")


README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
README_COMMANDS = [line for line in README.splitlines() if line.startswith("cbviz ")]


@pytest.mark.parametrize("line", README_COMMANDS)
def test_the_readme_s_commands_are_understood(line: str) -> None:
    cli.build_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_the_readme_s_make_targets_exist() -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)", README))
    assert targets >= {"race", "test", "lab"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no `make {target}`"


def test_python_m_cbviz() -> None:
    called = subprocess.run([sys.executable, "-m", "cbviz", "--version"], capture_output=True, text=True, check=True)
    assert called.stdout == f"cbviz {cbviz.__version__}\n"


def test_replay_writes_the_page_of_recorded_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "replay.html"
    assert main(["replay", "smollm2-8", "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(page) in capsys.readouterr().out


def test_replay_refuses_what_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "foreign.cbviz"
    foreign.write_text("hello")
    for name in (str(foreign), str(tmp_path / "missing.cbviz")):
        assert main(["replay", name, "--html", str(tmp_path / "page.html")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("cbviz: ")
        assert said.count("\n") == 1

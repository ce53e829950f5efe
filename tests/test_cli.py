"""The command line: one JSON object and nothing else, one sentence for every mistake, and Ctrl-C at any time."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

import cbviz
from cbviz import cli, lab
from cbviz.cli import comparison, main
from cbviz.measure.verdict import verdict
from cbviz.messages import say
from cbviz.run.schedule import schedule
from cbviz.workload import Request, Workload

LENGTHS = (9, 3, 20, 4)
AHEAD = Workload("made", [Request(i, (20,) * 3, max_new_tokens=20, output_length=n) for i, n in enumerate(LENGTHS)])
"""More requests than the two slots of a test, of different lengths."""
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
    "unknown preemption": ("race", "--preemption", "nap"),
    "swap-blocks 0": ("race", "--preemption", "swap", "--swap-blocks", "0"),
    "swap-blocks without swapping": ("race", "--swap-blocks", "8"),
    "unknown preemption of a benchmark": ("bench", "--preemption", "nap"),
    "swap-blocks of a benchmark not whole": ("bench", "--preemption", "swap", "--swap-blocks", "half"),
    "lab in an unknown language": ("lab", "--no-open", "--language", "fr"),
    "lab into a file": ("lab", "empty.txt", "--no-open"),
    "lab below a file": ("lab", "empty.txt/course", "--no-open"),
    "slides without a folder": ("slides",),
    "slides into a file": ("slides", "empty.txt"),
    "slides in an unknown language": ("slides", "pictures", "--language", "fr"),
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
        if result["speedup_doubt"] == "too_short_to_time":
            assert (lane["seconds"], lane["tokens_per_second"]) == (None, None)
        else:
            assert lane["tokens_per_second"] == pytest.approx(lane["output_tokens"] / lane["seconds"], rel=0.12)
    assert [first["policy"], last["policy"]] == ["static", "continuous"]
    assert result["iteration_ratio"] == pytest.approx(first["iterations"] / last["iterations"])
    assert first["output_tokens"] == last["output_tokens"]
    assert result["identical_outputs"] is True
    assert result["divergences"] == []
    assert set(result["table"]) == {"static", "continuous"}
    assert result["table"]["static"]["iterations"] == first["iterations"]
    assert (result["speedup"], result["speedup_range"]) == (None, None)
    assert result["speedup_doubt"] in ("too_short_to_time", "timed_once"), "one repeat decides nothing"


def test_help_names_the_policies(capsys: pytest.CaptureFixture[str]) -> None:
    from cbviz.policies import POLICIES

    for command in ("race", "bench", "simulate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert f"of {', '.join(POLICIES)} (" in shown, command


def test_results_explains_in_both_languages_what_a_result_points_to(run: Run) -> None:
    code, out, err = run("results")
    assert (code, err) == (0, "")
    assert "# Reading a result" in out
    assert "## Where answers part" in out
    assert "105 of 128" in out
    assert not re.search(r"[\u4e00-\u9fff]", out)
    headings, items = (len(re.findall(sign, out, re.MULTILINE)) for sign in (r"^#+ ", r"^(- |\d\. )"))
    assert items > 30, "the situations of the table among them"
    code, out, _ = run("results", "--language", "zh")
    assert code == 0
    assert out.startswith("## 怎样读结果")
    assert "## 回答为何不同" in out
    assert "| situation" not in out
    assert len(re.findall(r"^#+ ", out, re.MULTILINE)) == headings, "both languages have the same sections"
    assert len(re.findall(r"^(- |\d\. )", out, re.MULTILINE)) == items, "and say as much in them"
    for language in ("en", "zh"):
        assert "`cbviz results" in say(language, "verdict.differ_see")


def test_advice_names_options_on_the_command_line_and_arguments_in_python(run: Run) -> None:
    lanes = [schedule(policy, AHEAD, slots=2) for policy in ("continuous", "orca")]
    found = verdict(*lanes)
    assert str(found.beside).endswith("Try less of it (kv_tokens), or another policy.")
    facts = {"verdict": found.to_json()}
    assert comparison(facts)[1].endswith("Try less of it (--kv-tokens), or another policy.")
    assert "（--kv-tokens）" in comparison(facts, "zh")[1]
    alone = {"verdict": verdict(lanes[0], raced=True).to_json()}
    assert comparison(alone)[-1].endswith("Name another policy beside it (--policies), such as static.")
    once = [replace(trace, meta=replace(trace.meta, clock="alone")) for trace in lanes]
    seconds = comparison({"verdict": verdict(*once, compare="seconds").to_json()})
    assert any(sentence.endswith("Ask for three (--repeats).") for sentence in seconds)
    assert not any(re.search(r"\((kv_tokens|repeats|policies|compare)\)", line) for line in seconds)
    for option in ("--kv-tokens", "--policies", "--repeats", "--compare"):
        assert option in help_of("race")


def test_a_replay_advises_nothing_that_a_recording_cannot_follow(run: Run, tmp_path: Path) -> None:
    paths = [str(schedule(name, AHEAD, slots=2).save(tmp_path / f"{name}.cbviz")) for name in ("continuous", "orca")]
    code, out, _ = run("replay", *paths, "--html", str(tmp_path / "page.html"))
    assert code == 0
    assert "KV memory never ran short." in out
    assert "Try" not in out


def help_of(command: str) -> str:
    (commands,) = [action for action in cli.build_parser()._actions if action.dest == "command"]
    return commands.choices[command].format_help()  # type: ignore[index]


def test_what_libraries_print_never_reaches_the_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("cbviz.run.race")

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
    # On a slow machine there are estimates of the time.
    assert (code, re.sub(r"cbviz: (at most about .* each|.* left)\n", "", err)) == (0, "")
    assert "static took" in out
    assert "All 5 answers are the same" in out
    for word in ("iterations", "occupancy", "never reserved", "tiny on cpu, 2 slots, 5 requests, seed 0"):
        assert word in out
    assert "held: finished, still computed" in out, "the drawing has a legend"
    quiet = run(*SMALL, "--repeats", "1", "--quiet")[1]
    assert len(quiet.splitlines()) < len(out.splitlines()), "--quiet leaves the drawing out"


def test_the_result_is_said_in_chinese(run: Run) -> None:
    _, out, _ = run(*SMALL, "--repeats", "1", "--language", "zh", "--compare", "ttft")
    assert "首 token 平均在" in out
    assert "全部 5 个回答逐个 token 都相同。" in out
    assert "iterations" not in out


def test_own_prompts_print_their_answers(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("Count to 3\nCount to 12\n", "utf-8")
    _, out, _ = run("race", "--prompts", str(file), "--slots", "4", "--device", "cpu", "--repeats", "1", "--quiet")
    assert "Nothing to win: 2 requests on 4 slots never wait. Try more requests than slots." in out
    assert out.endswith("0  Count to 3\n   → 1 2 3\n1  Count to 12\n   → 1 2 3 4 5 6 7 8 9 10 11 12\n")


def test_a_replay_says_why_answers_differ(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("replay", "llama-8b-32", "--html", str(tmp_path / "a.html"))
    assert out.startswith("1,967 → 948 iterations\n")
    assert "105 of 128 answers differ between the lanes.\nThe weights are random: " in out


def test_an_unknown_comparison_is_refused(run: Run) -> None:
    code, _, err = run("race", "--compare", "speed")
    assert (code, "must be one of iterations, seconds, longest_gap, ttft, not 'speed'" in err) == (2, True)


def test_three_lanes_and_one_lane(run: Run) -> None:
    _, out, _ = run(*SMALL, "--repeats", "1", "--policies", "static,continuous,static", "--json")
    result = json.loads(out)
    assert len(result["lanes"]) == 3
    assert result["iteration_ratio"] == 1
    _, out, _ = run(*SMALL, "--repeats", "1", "--policies", "continuous")
    assert "took" not in out, "one lane has nothing to compare with"


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
    from cbviz.run.lane import Lane

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


@pytest.mark.parametrize("command", [("replay",), ("calibrate",), ("doctor",), ("simulate", "--workload")])
def test_a_name_that_is_no_file_and_no_recording_gets_the_recordings(command: tuple[str, ...], run: Run) -> None:
    code, _, error = run(*command, "nosuch")
    assert code == 2
    assert "there is no file and no recording 'nosuch'; recordings are llama-8b-32, llama-8b-128, smollm2-8" in error


def test_shared_beginnings_and_swapping_can_be_asked_for(run: Run, tmp_path: Path) -> None:
    asked = ("--prefix-cache", "--preemption", "swap", "--swap-blocks", "6", "--kv-blocks", "24", "--block-size", "16")
    narrow = ("race", "--slots", "4", "--requests", "12", "--device", "cpu", "--repeats", "1")
    code, out, err = run(*narrow, *asked, "--policies", "vllm_v0", "--json", "--save", str(tmp_path / "traces"))
    assert code == 0, err
    assert json.loads(out)["identical_outputs"] is True
    (trace,) = (cbviz.load(path) for path in (tmp_path / "traces").iterdir())
    asked_for = {"prefix_cache": True, "preemption": "swap", "swap_blocks": 6}
    assert trace.meta.extra.items() >= asked_for.items()


@pytest.mark.parametrize("command", ["race", "bench"])
def test_by_default_nothing_is_shared_and_the_preempted_are_computed_again(command: str) -> None:
    options = cli.build_parser().parse_args([command])
    assert (options.prefix_cache, options.preemption, options.swap_blocks) == (False, "recompute", None)


def test_a_benchmark_passes_on_how_memory_is_handled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from cbviz.errors import MeasureError

    module = import_module("cbviz.run.bench")

    def refuse(*_: object, **options: object) -> object:
        raise MeasureError(f"{options['prefix_cache']} {options['preemption']} {options['swap_blocks']}.")

    monkeypatch.setattr(module, "bench", refuse)
    code, _, err = run("bench", "--prefix-cache", "--preemption", "swap", "--swap-blocks", "7")
    assert (code, err) == (2, "cbviz: True swap 7.\n")


@pytest.mark.parametrize("language", lab.LANGUAGES)
def test_lab_copies_the_course(language: str, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    code, out, err = run("lab", str(folder), "--language", language, "--no-open")
    assert (code, err) == (0, "")
    names = [path.name for path in lab.originals(language)]
    assert out == f"{len(names)} notebooks copied to {folder / language}\n"
    assert sorted(path.name for path in (folder / language).iterdir()) == names
    first = nbformat.read(folder / language / "00_watch_it.ipynb", as_version=4)
    assert f'course.language("{language}")' in "".join(cell.source for cell in first.cells)
    code_cells = [cell for cell in first.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code_cells), "a guess comes before its result"


def test_copies_lead_nowhere_outside_their_folder(tmp_path: Path) -> None:
    for path in sorted(lab.copy(tmp_path).folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for target in re.findall(
            r"\]\(([^)#:]+)\)", "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        ):
            assert "/" not in target, f"{path.name} leads to {target}"


def test_lab_never_touches_what_a_learner_wrote(run: Run, tmp_path: Path) -> None:
    run("lab", str(tmp_path), "--no-open")
    mine = tmp_path / "en" / "01_one_token_at_a_time.ipynb"
    mine.write_text("my answers")
    gone = tmp_path / "en" / "03_what_fits.ipynb"
    gone.unlink()
    code, out, _ = run("lab", str(tmp_path), "--no-open")
    assert code == 0
    assert mine.read_text() == "my answers"
    assert gone.exists()
    lines = out.splitlines()
    assert lines[0] == f"1 notebook copied to {tmp_path / 'en'}"
    assert lines[1] == f"{len(lab.originals('en')) - 2} notebooks were there already, unchanged."
    assert lines[2].startswith("Kept as you left them: 01_one_token_at_a_time.ipynb (")


def test_lab_opens_jupyterlab_on_the_first_notebook(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(lab, "open_jupyterlab", lambda notebook, options: opened.append((notebook, options)))
    assert run("lab", str(tmp_path), "--language", "zh", "--jupyter=--allow-root", "--jupyter", "notebook")[0] == 0
    assert opened == [(tmp_path / "zh" / "00_watch_it.ipynb", ["--allow-root", "notebook"])]
    assert opened[0][0].is_file()


def test_lab_without_jupyterlab_says_how_to_get_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    code, out, err = run("lab", str(tmp_path / "course"))
    assert (code, out) == (2, "")
    assert err == "cbviz: JupyterLab is not installed; run: pip install 'cbviz[notebook]'\n"
    assert not (tmp_path / "course").exists(), "nothing is half done"
    assert run("lab", str(tmp_path / "course"), "--no-open")[0] == 0, "copying needs no JupyterLab"


def test_an_installation_without_notebooks_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "site-packages" / "cbviz" / "lab.py"))
    code, _, err = run("lab", str(tmp_path / "course"), "--no-open")
    assert code == 2
    assert err.startswith("cbviz: this installation of cbviz came without the notebooks")


def test_the_wheel_brings_the_notebooks_and_the_board(tmp_path: Path) -> None:
    """Built as an installer builds it, and unpacked: its lab finds them, and nothing else has slipped in."""
    source = tmp_path / "source"
    root = Path(__file__).resolve().parents[1]
    shutil.copytree(root / "cbviz", source / "cbviz", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "docs").mkdir()
    shutil.copy(root / "docs" / "results.md", source / "docs" / "results.md")
    shutil.copytree(root / "notebooks", source / "notebooks", ignore=shutil.ignore_patterns("*checkpoints"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            "-w",
            tmp_path,
            source,
        ],
        check=True,
    )
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("cbviz/notebooks/")}
        assert {f"cbviz/messages/{language}.json" for language in lab.LANGUAGES} <= set(wheel.namelist())
        assert wheel.read("cbviz/docs/results.md") == (root / "docs" / "results.md").read_bytes()
        scripts = {name for name in wheel.namelist() if name.startswith("cbviz/view/js/") and name.endswith(".js")}
        wheel.extractall(tmp_path / "installed")
    assert inside == {
        f"cbviz/notebooks/{p.parent.name}/{p.name}" for language in lab.LANGUAGES for p in lab.originals(language)
    }
    assert scripts == {f"cbviz/view/js/{path.name}" for path in (root / "cbviz" / "view" / "js").glob("*.js")}
    asked = "from pathlib import Path; from cbviz import lab; print(lab.__file__, *lab.copy(Path('course'), 'zh').new)"
    called = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    where, *copied = called.stdout.split()
    assert Path(where).is_relative_to(tmp_path / "installed")
    assert copied == [path.name for path in lab.originals("zh")]


def test_slides_are_written_for_every_recording(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.trace.RECORDINGS", {"smollm2-8": "the smallest"})
    code, out, err = run("slides", str(tmp_path / "pictures"), "--dark")
    assert (code, err) == (0, "")
    paths = [tmp_path / "pictures" / f"smollm2-8.{kind}" for kind in ("svg", "png", "gif")]
    paths.append(tmp_path / "pictures" / "slides.md")
    assert out.split() == [str(path) for path in paths]
    assert paths[0].read_text("utf-8").startswith("<svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert paths[2].read_bytes().startswith(b"GIF8")


def test_sentences_are_said_in_the_language_of_the_result() -> None:
    words = {"sentences": [["verdict.iterations", {"lanes": ["verdict.listed", {"first": "a 1", "second": "b 2"}]}]]}
    facts = {"verdict": words, "reference": None, "logit_rules": {"repetition_penalty": 1.3}}
    rules = "Logits follow the model's generation config: repetition_penalty 1.3."
    assert cli.comparison(facts) == ["Iterations: a 1, b 2.", rules]
    assert cli.comparison(facts, "zh")[0] == "迭代次数：a 1、b 2。"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("bench --model tiny --json --save out.cbviz --slots 2", "cbviz bench --model tiny --slots 2"),
        ("bench --save=out.cbviz --quiet --policy static", "cbviz bench --policy static"),
    ],
)
def test_a_result_carries_its_command_without_where_it_was_saved(typed: str, kept: str) -> None:
    assert cli.command_line(typed.split()) == kept

"""The benchmark scripts run, on a small scale, and what they write adds up."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import cbviz
from cbviz import cli
from cbviz.cuda import compiled
from cbviz.cuda.fused_gate import gated_linear, in_two_kernels
from cbviz.eager.packed_linear import onednn_packs
from cbviz.measure.rounding import fixed, percent
from cbviz.run import rates

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rates.COPY_BYTES, "cpu", 2**20)
    monkeypatch.setitem(rates.SQUARE, "cpu", 64)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def run(name: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    target = tmp_path / "found.json"
    assert script(name).main([*options, "--device", "cpu", "--json", str(target)]) == 0
    found: dict[str, Any] = json.loads(target.read_text("utf-8"))
    assert set(found) >= {"command", "versions", "date"}
    assert found["command"] == " ".join(["python", f"benchmarks/{name}.py", *options, "--device", "cpu"])
    return found


def test_step(tmp_path: Path) -> None:
    found = run("step", tmp_path, "--case", "tiny:2", "--context", "20", "--steps", "14", "--no-compile")
    (step,) = found["steps"]
    assert (step["model"], step["rows"], step["context"]) == ("tiny", 2, 20)
    low, high = step["engine_ms_range"]
    assert 0 < low <= step["engine_ms"] <= high
    assert step["tokens_per_second"] == pytest.approx(2e3 / step["engine_ms"])
    assert step["efficiency"] == pytest.approx(step["floor_ms"] / step["engine_ms"])


def test_ladder(tmp_path: Path) -> None:
    found = run("ladder", tmp_path, "--case", "tiny:2", "--context", "20", "--steps", "14", "--rungs", "2")
    assert [one["rung"] for one in found["ladder"]] == [rung.name for rung in script("ladder").RUNGS[:2]]
    for one in found["ladder"]:
        low, high = one["range"]
        assert 0 < low <= one["milliseconds"] <= high


def test_a_rung_is_without_what_comes_later() -> None:
    ladder = script("ladder")
    names = ("fuse_projections", "fuse_rotary", "fuse_gate", "INDUCTOR", "ONE_TOKEN")
    whole = {name: getattr(compiled, name) for name in names}
    there = []
    for rung in ladder.RUNGS:
        with ladder.without_what_comes_later(rung):
            there.append({name for name, one in whole.items() if getattr(compiled, name) is one})
        assert all(getattr(compiled, name) is one for name, one in whole.items())
    assert there == [set(), set(), set(), set(names[:1]), set(names[:2]), set(names[:3]), set(whole)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it measures")
def test_choices_need_a_gpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    choices = script("choices")
    assert choices.main(["--json", str(tmp_path / "found.json")]) == 2
    assert "compute capability 9.0 or more" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    x, weight, down = torch.randn(3, 8), torch.randn(12, 8), torch.randn(8, 6)
    once = torch.nn.functional.linear(in_two_kernels(x, weight), down)
    twice = torch.nn.functional.linear(gated_linear(once, weight), down)
    torch.testing.assert_close(choices.chain(x, in_two_kernels, [(weight, down)] * 2), twice)


def test_first_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("--slots", "2", "--prompt-tokens", "8", "--output-tokens", "4", "--starts", "2", "--backend", "graphs")
    starts = run("first_minute", tmp_path, "--model", "tiny", *sizes)["starts"]
    phases = set(script("first_minute").PHASES)
    assert [set(one["seconds"]) for one in starts] == [phases] * 2
    assert all(seconds >= 0 for one in starts for seconds in one["seconds"].values())
    assert starts[0]["shapes"] == 3, "prompts of up to 64 tokens, two rows and one"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:2] == ["in", "all"]
    assert float(last.split()[2]) == pytest.approx(sum(starts[0]["seconds"].values()), abs=0.01)


def test_cpu_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("cpu_step")
    monkeypatch.setattr(module, "READ_BYTES", 2**22)
    monkeypatch.setattr("cbviz.eager.forward.SMALL", 0)  # packed like a large model
    monkeypatch.setattr("cbviz.eager.packed_linear.SMALLEST", 1)
    sizes = ("--rows", "2", "--context", "20", "--steps", "10", "--repeats", "1")
    (step,) = run("cpu_step", tmp_path, "--model", "tiny", *sizes)["cpu_steps"]
    assert list(step["ways"]) == list(module.WAYS)
    for one in step["ways"].values():
        assert 0 < one["fastest_ms"] <= one["ms"]
        assert one["share_of_the_floor"] == pytest.approx(step["floor_ms"] / one["ms"])
    counted = {name: set(one["kinds"]) for name, one in step["ways"].items()}
    assert counted["plain"] == {"Linear"}
    if onednn_packs():
        assert counted["packed"] == {"PackedLinear"}
        assert counted["together"] == {"PackedLinear", "SiblingLinear"}


def test_recording(tmp_path: Path) -> None:
    sizes = ("--requests", "4", "--max-new-tokens", "6", "--slots", "2", "--repeats", "2")
    (one,) = run("recording", tmp_path, "--model", "tiny", *sizes)["runs"]
    assert len(one["runs_on"]) == len(one["runs_off"]) == 2
    assert one["cost"] == pytest.approx(one["seconds_on"] / one["seconds_off"] - 1)


def test_long_run(tmp_path: Path) -> None:
    sizes = ("--requests", "12", "--prompt-tokens", "3", "--max-new-tokens", "5", "--slots", "4")
    found = run("long_run", tmp_path, "--model", "tiny", *sizes)
    assert sum(part["iterations"] for part in found["parts"]) == found["iterations"]
    assert len(found["parts"]) <= 10
    assert all(part["resident_mib"] > 10 for part in found["parts"])
    assert found["parts"][0]["wall_ms"] > 0


def test_answers(tmp_path: Path) -> None:
    found = run("answers", tmp_path, "--model", "tiny", "--requests", "2", "--slots", "2")
    assert found["divergences"] == []
    assert found["output_tokens"] > 0


def test_stalls(tmp_path: Path) -> None:
    sizes = ("--decoding", "2", "--output-tokens", "12", "--long", "2", "--long-prompt", "30:40", "--rate", "50")
    found = run("stalls", tmp_path, "--model", "tiny", *sizes, "--policy", "tgi", "--policy", "sarathi:8")
    assert [one["policy"] for one in found["policies"]] == ["tgi", "sarathi"]
    assert all(0 < one["itl_p50"] <= one["itl_max"] for one in found["policies"])
    assert found["policies"][1]["stalls"] == 0


def test_int8(tmp_path: Path) -> None:
    (one,) = run("int8", tmp_path, "--model", "tiny", "--requests", "2", "--slots", "2", "--repeats", "1")["models"]
    before, after = one["weight_bytes"]
    assert one["kv_tokens_gained"] == (before - after) // one["kv_bytes_per_token"]
    assert one["agreement"]["requests"] == 2


def test_kv_schemes(tmp_path: Path) -> None:
    target, drawing = tmp_path / "found.json", tmp_path / "kv.svg"
    options = ["--requests", "14", "--kv-tokens", "2100", "--json", str(target), "--svg", str(drawing)]
    assert script("kv_schemes").main(options) == 0
    result = json.loads(target.read_text("utf-8"))
    assert result["command"] == "python benchmarks/kv_schemes.py --requests 14 --kv-tokens 2100", "and no place of ours"
    found = result["workloads"]
    assert len(found) == 2
    for one in found.values():
        assert one["schemes"]["Orca, maximum"]["used"] < one["schemes"]["vLLM, paged"]["used"]
    assert drawing.read_text("utf-8").startswith("<svg")


def test_fidelity_runs_continue_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("fidelity_runs")
    planned = [module.Planned(f"run-{n}", "tiny", "continuous", 2, 3, 4, 6, n) for n in (1, 2)]
    monkeypatch.setattr(module, "SETS", {"fit": tuple(planned)})
    options = ["--out", str(tmp_path), "--device", "cpu", "--repeats"]
    assert module.main([*options, "2", "--only", "run-2"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run-2.cbviz", "run-2.seconds"}
    out = capsys.readouterr().out
    assert "1 of 1 runs to do" in out
    assert "run-2, 2 of 2" in out
    assert "about 0 s left" in out
    original, timed = module.Setting.timed, []

    def cut_short(self: Any, executor: Any, record: bool) -> Any:
        if len(timed) == 1:
            raise KeyboardInterrupt
        timed.append(1)
        return original(self, executor, record)

    monkeypatch.setattr(module.Setting, "timed", cut_short)
    with pytest.raises(KeyboardInterrupt):
        module.main([*options, "2"])
    assert len((tmp_path / "run-1.seconds").read_text().split()) == 1
    assert len(cbviz.load(tmp_path / "run-1.cbviz").requests) == 3
    monkeypatch.setattr(module.Setting, "timed", original)
    capsys.readouterr()
    assert module.main([*options, "2"]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 runs to do" in out
    assert "run-1, 2 of 2" in out
    assert "run-1, 1 of 2" not in out
    with pytest.raises(SystemExit, match="there is no run nothing"):
        module.main([*options, "2", "--only", "nothing"])


def test_the_vllm_run_is_read_by_the_package(tmp_path: Path) -> None:
    rows = Path(__file__).parent / "load_results" / "vllm_server_rtx4090.jsonl.gz"
    (tmp_path / "a.requests.jsonl.gz").write_bytes(rows.read_bytes())
    (tmp_path / "a.meta.json").write_text('{"model": "m"}')
    meta, run = script("fidelity_vllm").read(tmp_path)
    assert meta == {"model": "m"}
    assert len(run.served) == 300
    assert all(one.good for one in run.served)


def test_planning(tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    sizes = ["--requests", "8", "--slots", "4", "--repeats", "1", "--policy", "vllm_v1", "--json", str(target)]
    assert script("planning").main(sizes) == 0
    (one,) = json.loads(target.read_text("utf-8"))["policies"]
    for memory in ("roomy", "tight"):
        assert 0 < one[memory]["plan_ms"] <= one[memory]["loop_ms"]


@pytest.mark.browser
def test_page_speed(tmp_path: Path) -> None:
    # In a process of its own: Playwright allows one event loop in each, and other tests may have theirs.
    file = tmp_path / "speed.json"
    once = ("--throttle", "1", "--repeats", "1", "--without-python", "--json", str(file))
    command = [sys.executable, str(FOLDER / "page_speed.py"), *once]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, timeout=500)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(file.read_text("utf-8"))
    visit, step = found["page × 1"], found["step"]
    assert 0 < visit["first frame"] < visit["model ready"]
    assert all(milliseconds > 0 for milliseconds in (*visit.values(), *step.values()))
    assert set(step) == {
        "decode step, node, WebAssembly",
        "decode step, node, plain JavaScript",
        "decode step, torch",
    }


def test_memory(tmp_path: Path) -> None:
    sizes = ("--requests", "6", "--slots", "3", "--stem", "8", "--prompt", "4", "--output-tokens", "12")
    tight = ("--block-size", "4", "--share", "0.5", "--repeats", "1")
    runs = run("memory", tmp_path, "--model", "tiny", *sizes, *tight)["runs"]
    assert [one["hits"] > 0 for one in runs] == [False, True, False, False]
    assert [one["recomputed"] > 0 for one in runs] == [False, False, True, False]
    assert [one["moved_mib"] > 0 for one in runs] == [False, False, False, True]


def test_models_of_every_make_are_compared_with_generate(tmp_path: Path) -> None:
    found = run("answers_models", tmp_path, "qwen3_moe", "--requests", "4", "--dtypes", "float32", "bfloat16")
    exact, half = found["models"]
    assert (exact["outcome"], exact["exact"], exact["answers"]) == ("ok", 12, 12)
    assert (half["outcome"], half["answers"]) == ("ok", 12)
    assert {one["why"] for one in half["differences"]} <= {"near tie", "routing tie"}


def test_the_commands_of_the_readme_are_understood() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    commands = [line for line in re.findall(r"cbviz (?:bench|race) [^`\n]*", text) if "…" not in line]
    assert len(commands) >= 4
    for command in commands:
        cli.build_parser().parse_args(command.split()[1:])
    scripts = set(re.findall(r"python benchmarks/(\w+)\.py", text))
    others = {"attention", "result_file", "vllm_process"}  # named without a command, or no script
    assert scripts == {path.stem for path in FOLDER.glob("*.py")} - others
    parts = (FOLDER / "run_h100.sh").read_text("utf-8")
    for name in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE):
        for part in re.findall(r"\w+", name):
            assert re.search(rf"^{part}\(\) \{{", parts, re.MULTILINE), f"run_h100.sh has no part {part}"


def test_traffic(tmp_path: Path) -> None:
    trace = str(FOLDER.parent / "tests" / "traffic" / "azure_2023_code.csv.gz")
    (one,) = run("traffic", tmp_path, trace)["traces"].values()
    assert one["requests"] == 300
    assert 1 < one["speedup"]["8"] < one["speedup"]["32"] < one["speedup"]["128"]


def test_the_recorded_speeds_of_a_cpu_are_what_the_pages_say() -> None:
    results, page = FOLDER / "results", (FOLDER / "README.md").read_text("utf-8")
    for step in json.loads((results / "cpu_step.json").read_text("utf-8"))["cpu_steps"]:
        plain, chosen = step["ways"]["plain"], step["ways"]["chosen"]
        share = percent(chosen["share_of_the_floor"]).replace("%", " %")
        row = f"| {step['rows']} | {fixed(plain['ms'], 1)} ms | {fixed(chosen['ms'], 1)} ms | {share} |"
        assert row in page or step["rows"] == 2
    for engine in json.loads((results / "peer_llama_cpp.json").read_text("utf-8"))["engines"]:
        low, high = (fixed(bound(engine["runs"]), 1) for bound in (min, max))
        seconds = f"{fixed(engine['seconds'], 1)} ({low} to {high})"
        rate = fixed(engine["tokens_per_second"], 1)
        assert re.search(rf"\| {re.escape(seconds)} \| {engine['output_tokens']} \| \**{rate}\** \|", page), engine
        if not engine["engine"].endswith(("static", "Q4_1")):
            assert f"{fixed(engine['seconds'], 1)} s" in (FOLDER.parent / "README.md").read_text("utf-8")
    frames = json.loads((results / "board_frames.json").read_text("utf-8"))["rows"]
    assert len(frames) == 15
    assert min(row["frames"] for row in frames) > 59.5


def test_the_recorded_traffic_is_what_the_page_says() -> None:
    recorded = json.loads((FOLDER / "results" / "traffic.json").read_text("utf-8"))["traces"]
    page = (FOLDER / "README.md").read_text("utf-8")
    for one in recorded.values():
        speedups = [f"{one['speedup'][n]:.3g}" for n in ("8", "32", "128")]
        wanted = [f"{one['requests']:,}", f"{one['output'][0]:.0f}", f"{one['output_cv']:.2f}", *speedups]
        assert f"| {' | '.join(wanted)} |" in page


def test_a_sweep_of_benchmarks_is_the_same_table_in_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = script("sweep")
    monkeypatch.setattr(sweeps, "POLICIES", ("static", "tgi"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # Ray has a test of its own
    words = ["--requests", "5", "--seeds", "1", "--rates", "1", "--output-dir", str(tmp_path / "kept")]
    found = run("sweep", tmp_path, *words)
    assert found["same"]
    assert {way: one["runs"] for way, one in found["ways"].items()} == {"one-process": 6, "all-cores": 6}
    assert found["ways"]["all-cores"]["policies_on_the_plain_loop"] == ["tgi"]
    kept = tmp_path / "kept" / "one-process" / "cells.jsonl"
    lines = kept.read_text("utf-8").splitlines(keepends=True)
    kept.write_text("".join(lines[:4]), "utf-8")  # as if it had been stopped
    again = run("sweep", tmp_path, *words, "--ways", "one-process")["ways"]["one-process"]
    assert (again["sha256"], again["calls"]) == (found["ways"]["one-process"]["sha256"], 2)
    assert kept.read_text("utf-8").splitlines(keepends=True)[:4] == lines[:4]


def test_a_result_file_names_no_path_of_its_machine() -> None:
    shareable = importlib.import_module("result_file").shareable
    for words in (["--out", "/somewhere/x", "--json", "/somewhere/y"], ["--out=/somewhere/x", "--json=/somewhere/y"]):
        assert shareable(["--seed", "1", *words, "--quiet"]) == ["--seed", "1", "--out", "FOLDER", "--quiet"]
    assert shareable(["--build=/opt/llama", "--server=/elsewhere/s", "--only=a=b"]) == [
        "--build", "FOLDER", "--server", "FILE", "--only=a=b",
    ]  # fmt: skip
    assert shareable(["--json"]) == []

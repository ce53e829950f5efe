"""`cbviz simulate` and `cbviz calibrate`: one JSON object, or sentences; one sentence for every mistake."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz import cli
from cbviz.cli import main
from cbviz.cli import simulate as simulate_cli
from cbviz.errors import WorkloadError
from cbviz.messages import languages
from cbviz.run.sweep_work import simulated
from cbviz.run.traffic_work import traffic_at

SMALL = ("simulate", "--requests", "60", "--output-tokens", "20", "--slots", "4", "--rate", "9")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*argv: str) -> tuple[int, str, str]:
        try:
            code = cli.main(argv)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


def test_json_has_what_a_sweep_needs(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*SMALL, "--target-ttft", "1", "--dollars-per-hour", "2", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["requests"] == facts["completed"] == 60
    assert facts["wall_seconds"] > 0
    assert facts["requests_per_wall_second"] == pytest.approx(60 / facts["wall_seconds"])
    assert facts["tokens_per_second"] == pytest.approx(facts["tokens"] / facts["simulated_seconds"])
    for name in ("ttft", "tpot", "e2e"):
        assert 0 < facts[name]["p50"] <= facts[name]["p90"] <= facts[name]["p99"]
    assert 0 < facts["occupancy"] <= 1
    assert facts["goodput"] == pytest.approx(60 * facts["within_targets"] / facts["simulated_seconds"])
    price = 2 / (facts["tokens_per_second"] * 3600) * 1e6
    assert facts["dollars_per_million_tokens"] == pytest.approx(price)


def test_sentences_and_a_trace(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "run.cbviz"
    code, out, _ = run(*SMALL, "--policy", "vllm_v1", "--kv-blocks", "40", "--save", str(path))
    assert code == 0
    assert "60 requests" in out
    assert "TTFT: mean" in out
    trace = cbviz.load(path)
    assert (trace.meta.clock, len(trace.requests), trace.meta.policy) == ("virtual", 60, "vllm_v1")


def test_clients_make_a_closed_loop(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("simulate", "--requests", "40", "--lengths", "fixed", "--clients", "3", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["in_system"] == pytest.approx(3, rel=0.1)
    assert facts["workload"].endswith("; a closed loop of 3 clients"), "they do not come all at once"


def test_a_calibration_is_written_and_used(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "cost.json"
    code, out, _ = run("calibrate", "smollm2-8", "--output", str(path), "--name", "mine")
    assert code == 0
    assert "requests that it was not fitted to" in out
    code, printed, _ = run("calibrate", "smollm2-8", "--name", "mine")
    assert code == 0
    assert printed == path.read_text("utf-8")
    code, out, _ = run(*SMALL, "--cost", str(path), "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["cost"] == "mine"


TRAFFIC = Path(__file__).parent / "traffic"
RESULTS = Path(__file__).parent / "load_results"
FILES = (
    TRAFFIC / "azure_2023_code.csv.gz",
    TRAFFIC / "mooncake_conversation.jsonl.gz",
    TRAFFIC / "burstgpt.csv",
    TRAFFIC / "weka.jsonl",
    RESULTS / "vllm_bench.json",
    RESULTS / "vllm_server_rtx4090.jsonl.gz",
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_requests_come_from_a_file(run, path: Path) -> None:  # type: ignore[no-untyped-def]
    traffic = traffic_at(path)
    code, out, _ = run("simulate", "--workload", str(path), "--json", "--quiet")
    assert code == 0
    facts = json.loads(out)
    assert facts["requests"] == facts["completed"] == len(traffic)
    assert facts["tokens"] == sum(traffic.output_tokens)
    assert facts["simulated_seconds"] >= traffic.arrival[-1]


@pytest.mark.parametrize(("name", "requests"), [("smollm2-8", 48), ("engines-tiny", 32)])
def test_a_recording_is_served_by_its_name(run, name: str, requests: int) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("simulate", "--workload", name, "--slots", "8", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["workload"], facts["completed"]) == (name, requests)


def test_a_recorded_run_is_served_again(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The same policy, memory and declared lengths on the same requests: the same iterations."""
    path = tmp_path / "run.cbviz"
    served = ("--policy", "continuous", "--kv-blocks", "30", "--slots", "4", "--json")
    code, first, _ = run(*SMALL, *served, "--save", str(path))
    assert code == 0
    code, again, _ = run("simulate", "--workload", str(path), *served)
    assert code == 0
    for name in ("requests", "tokens", "iterations", "ttft", "e2e"):
        assert json.loads(again)[name] == pytest.approx(json.loads(first)[name], rel=1e-9), name


def test_a_file_of_requests_can_be_cut_and_hurried(run) -> None:  # type: ignore[no-untyped-def]
    azure = str(TRAFFIC / "azure_2023_code.csv.gz")
    given = ("simulate", "--workload", azure, "--requests", "50", "--max-new-tokens", "7", "--json", "--quiet")
    code, out, _ = run(*given, "--rate", "1000")
    facts = json.loads(out)
    assert (code, facts["requests"]) == (0, 50)
    assert facts["tokens"] <= 350
    assert facts["simulated_seconds"] < json.loads(run(*given)[1])["simulated_seconds"]
    code, out, _ = run(*given, "--clients", "2")
    assert json.loads(out)["in_system"] == pytest.approx(2, rel=0.1)
    assert json.loads(out)["workload"].endswith("a closed loop of 2 clients")


def test_what_lies_outside_the_calibration_is_said(run) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run("simulate", "--requests", "2", "--prompt-tokens", "20000", "--json")
    assert code == 0
    assert "extrapolated" in err
    code, out, err = run("simulate", "--requests", "2", "--prompt-tokens", "20000", "--json", "--quiet")
    assert err == ""
    assert any("extrapolated" in warning for warning in json.loads(out)["warnings"])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("simulate", "--cost", "none"), "there is no calibration none"),
        (("simulate", "--policy", "none"), "none"),
        (("simulate", "--rate", "0"), "must be a number above 0"),
        (("simulate", "--rate", "nan"), "must be a number above 0"),
        (("simulate", "--rate", "1", "--clients", "2"), "exclude each other"),
        (("simulate", "--requests", "0"), "at least 1"),
        (("simulate", "--max-new-tokens", "5"), "below --output-tokens 128"),
        (("simulate", "--kv-blocks", "2"), "it can never run"),
        (("simulate", "--lag", "2"), "--lag"),
        (("simulate", "--workload", "nothing.csv"), "there is no file nothing.csv"),
        (("simulate", "--prompt-tokens", "2000000000"), "request 0 is too long: its prompt of 2,000,000,000 tokens"),
        (("simulate", "--burstiness", "2"), "--burstiness is about arrivals at a rate; give --rate, too"),
        (("simulate", "--lengths", "fixed", "--max-new-tokens", "200"), "leave --max-new-tokens out"),
        (("simulate", "--workload", "nothing.cbviz"), "there is no file nothing.cbviz"),
        (("simulate", "--workload", "x", "--output-tokens", "5"), "--output-tokens describes requests that are drawn"),
        (("simulate", "--workload", "x", "--lengths", "fixed"), "--lengths describes requests that are drawn"),
        (("simulate", "--workload", "x", "--burstiness", "2"), "--burstiness describes requests that are drawn"),
        (("simulate", "--workload", str(RESULTS / "vllm_bench_old.json")), "does not say when requests were sent"),
        (("calibrate", "nothing.cbviz"), "nothing.cbviz"),
        (("calibrate", "llama-8b-32", "smollm2-8"), "more than one model"),
        (
            ("calibrate", "engines-tiny"),
            "engines-tiny holds runs of several engines, and a cost model is of one; save one of them in Python, with "
            'cbviz.trace.compared("engines-tiny")[0].save("one.cbviz"), and name that file',
        ),
    ],
)
def test_a_mistake_gets_one_sentence(run, argv: tuple[str, ...], sentence: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
AT_ONCE = HEADER + "2023-11-16 18:15:46.0000000,10,10\n" * 3
ONE_LONG = f"{AT_ONCE}2023-11-16 18:15:47.0000000,2000000000,9\n"


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (
            AT_ONCE,
            ("--rate", "3"),
            "come at once, and --rate stretches the gaps between requests; leave it out",
        ),
        (AT_ONCE, ("--requests", "4"), "has 3 requests, fewer than --requests 4; leave that out to serve them all."),
        (AT_ONCE, ("--seed", "1"), "--seed describes requests that are drawn"),
        (ONE_LONG, (), "request 3 is too long: its prompt of 2,000,000,000 tokens and its output of at most 10 make"),
    ],
    ids=["rate", "requests", "seed", "long"],
)
def test_what_a_file_cannot_give_is_said_in_options(run, tmp_path, content, options, sentence) -> None:  # type: ignore[no-untyped-def]
    """The reader of a command line has options, and neither methods of Python nor blocks of memory."""
    (tmp_path / "file.csv").write_text(content)
    code, out, err = run("simulate", "--workload", str(tmp_path / "file.csv"), *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not re.search(r"with_arrivals|first\(|clipped|blocks", err)


def test_a_calibration_of_simulated_runs_is_asked_for(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = str(tmp_path / "run.cbviz")
    assert run(*SMALL, "--save", path)[0] == 0
    code, out, err = run("calibrate", path)
    assert (code, out) == (2, "")
    assert "were simulated by the cost model" in err
    code, out, _ = run("calibrate", path, "--simulated", "--output", str(tmp_path / "cost.json"))
    assert code == 0
    assert "Fitted to simulated times" in out


def test_a_run_that_is_given_twice_is_refused(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one, other = tmp_path / "t.cbviz", tmp_path / "u.cbviz"
    assert run(*SMALL, "--save", str(one))[0] == 0
    other.write_bytes(one.read_bytes())
    code, out, err = run("calibrate", str(one), str(one), "--simulated")
    assert (code, out) == (2, "")
    assert "t.cbviz is given twice, and a run counts once; leave one out" in err
    code, _, err = run("calibrate", str(one), str(other), "--simulated")
    assert code == 2
    assert re.search(r"t\.cbviz and .*u\.cbviz hold the same run, and a run counts once", err)
    assert "smollm2-8 is given twice" in run("calibrate", "smollm2-8", "smollm2-8")[2]


def test_a_coefficient_of_0_is_named(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "cost.json"
    code, out, _ = run("calibrate", "smollm2-8", "--output", str(path))
    assert code == 0
    for name in ("decode", "kv_token", "prefill_token"):
        assert f"\n{name} came out as 0, the least that is allowed" in out
        assert f'"{name} came out as 0' in path.read_text("utf-8")


def test_every_language_has_the_warnings() -> None:
    cost = cbviz.simulator.load_cost("a100-40gb-opt-13b")
    work = cbviz.simulator.Work([0.0], [9], [9])  # type: ignore[arg-type]
    (warning,) = cbviz.forecast(work, "continuous", cost=cost).warnings
    said = {warning.in_language(language) for language in languages()}  # type: ignore[attr-defined]
    assert len(said) == len(languages())


def test_compiling_is_not_counted_as_computing(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """A compiler that takes nine seconds of a clock that nothing else moves."""
    forecasting = importlib.import_module("cbviz.run.forecast")
    jit = importlib.import_module("cbviz.jit")
    now = [0.0]

    class Compiled:
        typeof_pyval = staticmethod(type)

        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def compile(self, types: Any) -> None:
            now[0] += 9.0

        def __call__(self, *arguments: Any) -> Any:
            now[0] += 0.25
            return self.kernel(*arguments)

    monkeypatch.setattr(jit, "compiled", Compiled)
    monkeypatch.setattr("cbviz.simulator.worth_compiling.COMPILE_FROM", 0)
    for module in (jit, forecasting):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    code, out, _ = run("simulate", "--requests", "20", "--rate", "4", "--quiet")
    assert code == 0
    assert "computed in 0.25 s (compiled)" in out
    assert "Compiling the simulator took 9.0 s before that." in out
    assert "Poisson, rate 4" in out
    code, out, _ = run("simulate", "--requests", "20", "--json", "--quiet")
    facts = json.loads(out)
    assert (facts["wall_seconds"], facts["compile_seconds"]) == (0.25, 9.0)


def test_a_closed_loop_is_named_as_one(run) -> None:  # type: ignore[no-untyped-def]
    """Its requests do not all come at once."""
    for clients, named in (("1", "a closed loop of 1 client)"), ("3", "a closed loop of 3 clients)")):
        code, out, _ = run("simulate", "--requests", "9", "--clients", clients, "--quiet")
        assert code == 0
        assert named in out
        assert "all at once" not in out


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (4e-9, "4 ns"), (5.25e-5, "52.5 µs"), (0.0871, "87.1 ms"), (0.99949, "999 ms"), (0.99951, "1 s"),
     (12.34, "12.3 s"), (1234.5, "1,234 s"), (98765.4, "98,765 s")],
)  # fmt: skip
def test_seconds_are_shown_in_plain_digits(seconds: float, shown: str) -> None:
    assert simulate_cli._seconds(seconds) == shown


def test_numbers_in_warnings_are_grouped(run) -> None:  # type: ignore[no-untyped-def]
    _, _, err = run("simulate", "--requests", "40", "--cost", "cpu-2-cores-tiny", "--prompt-tokens", "1500")
    assert "1,500 prompt tokens" in err or "60,000" in err or "48,000" in err
    assert not re.search(r"\d{4}", err)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--rate", "1e-12"],
            "--rate must be at least 3e-09 for 3 requests, not 1e-12: the last request may arrive after at most "
            "1,000,000,000 s.",
        ),
        (
            ["--output-tokens", "2147483647"],
            "--output-tokens must be at most 536,870,911 where outputs may be 4 times as long, not 2147483647; "
            "--max-new-tokens sets the longest.",
        ),
        (
            ["--output-tokens", "2147483647", "--lengths", "uniform"],
            "--output-tokens must be at most 1,073,741,823 where outputs may be 2 times as long, not 2147483647; ",
        ),
        (
            ["--prompt-tokens", "2147483647", "--output-tokens", "7", "--lengths", "fixed"],
            "row 0 has more positions than 2**31 - 1: prompt_tokens is 2,147,483,647, output_tokens 7 and "
            "max_new_tokens 7.",
        ),
    ],
)
def test_nonsense_names_its_option_and_not_what_follows_from_it(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--requests", "3", *options]) == 2
    assert capsys.readouterr().err.startswith(f"cbviz: {sentence}")


def test_a_price_that_no_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--requests", "3", "--dollars-per-hour", "1e308"])
    assert "--dollars-per-hour: must be a number of at most 1,000,000,000, not '1e308'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ({"rate": 1e-12}, "^rate must be at least 3e-09 for 3 requests, not 1e-12"),
        (
            {"output_tokens": 2**31 - 1},
            "^output_tokens must be at most 536,870,911 .*; max_new_tokens sets the longest",
        ),
    ],
)
def test_a_cell_of_a_sweep_that_makes_no_sense(cell: dict[str, float], sentence: str) -> None:
    with pytest.raises(WorkloadError, match=sentence):
        simulated(policy="static", seed=0, requests=3, **cell)  # type: ignore[arg-type]

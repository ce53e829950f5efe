"""`cbviz simulate` and `cbviz calibrate`: one JSON object, or sentences; one sentence for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cbviz
from cbviz import cli
from cbviz.messages import languages

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
    assert json.loads(out)["in_system"] == pytest.approx(3, rel=0.1)


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
        (("calibrate", "nothing.cbviz"), "nothing.cbviz"),
        (("calibrate", "llama-8b-32", "smollm2-8"), "more than one model"),
    ],
)
def test_a_mistake_gets_one_sentence(run, argv: tuple[str, ...], sentence: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_every_language_has_the_warnings() -> None:
    cost = cbviz.simulator.load_cost("a100-40gb-opt-13b")
    work = cbviz.simulator.Work([0.0], [9], [9])  # type: ignore[arg-type]
    (warning,) = cbviz.forecast(work, "continuous", cost=cost).warnings
    said = {warning.in_language(language) for language in languages()}  # type: ignore[attr-defined]
    assert len(said) == len(languages())

"""The recorded runs that ship: small, whole, from a GPU, and doing the work that they are said to do."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest

import cbviz
from cbviz import models
from cbviz.checks import KNOWN_BY, known_elsewhere
from cbviz.cli import main
from cbviz.cli.words import KNOWN_TO_COMMANDS, of_commands
from cbviz.errors import CbvizError, TraceError
from cbviz.measure import static_iterations
from cbviz.policies import get
from cbviz.run.bench_work import named_workload
from cbviz.simulator import load_cost
from cbviz.trace.recordings import _FOLDER, RECORDINGS, compared, recorded
from cbviz.workload import fetch_trace, read_traffic, yardstick


def test_all_together_they_are_small() -> None:
    files = list(_FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) < 3 * 2**20
    assert {file.name.split(".")[0] for file in files} == set(RECORDINGS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_loads_and_says_where_it_was_made(name: str) -> None:
    for trace in recorded(name):
        assert "H100" in trace.meta.device
        assert {"cbviz", "torch", "transformers"} <= set(trace.meta.versions)
        assert (trace.requests.reason >= 0).all(), "every request ended"


@pytest.mark.parametrize(("name", "requests", "slots"), [("llama-8b-32", 128, 32), ("llama-8b-128", 512, 128)])
def test_the_yardstick_took_the_iterations_that_its_lengths_need(name: str, requests: int, slots: int) -> None:
    lengths = [request.output_length or 0 for request in yardstick(requests)]
    static, refill = recorded(name)
    for lane in (static, refill):
        assert [len(tokens) for tokens in lane.requests.tokens] == lengths
    assert len(refill.iterations) == {32: 948, 128: 853}[slots]
    assert len(static.iterations) == static_iterations(lengths, slots) == {32: 1967, 128: 2048}[slots]


def test_the_questions_were_answered() -> None:
    static, refill = cbviz.recorded("smollm2-8")
    assert len(static.iterations) / len(refill.iterations) > 1.4
    assert all("".join(pieces).strip() for pieces in refill.requests.pieces)


def named_for_tiny(name: str) -> object:
    return named_workload(name, models.load("tiny", device="cpu", progress=False))


@pytest.mark.parametrize(
    ("refuse", "name", "knows"),
    [
        (cbviz.recorded, "engines-tiny", "cbviz.trace.compared"),
        (compared, "smollm2-8", "cbviz.recorded"),
        (cbviz.load, "smollm2-8", "cbviz.recorded"),
        (cbviz.recorded, "orca", "cbviz.policies.get"),
        (get, "tiny", "cbviz.models.load"),
        (models.load, "static", "cbviz.policies.get"),
        (load_cost, "azure-2023-code", "cbviz.workload.fetch_trace"),
        (fetch_trace, "h100-llama-3.1-8b", "cbviz.simulator.load_cost"),
        (read_traffic, "azure-2023-code", "cbviz.workload.fetch_trace"),
        (named_for_tiny, "tiny", "cbviz.models.load"),
    ],
)
def test_a_name_that_another_function_knows_is_sent_there(refuse: Any, name: str, knows: str) -> None:
    with pytest.raises(CbvizError, match=rf"; {re.escape(knows)} knows it\.$"):
        refuse(name)
    with pytest.raises(CbvizError) as other:
        refuse("no-such-name-anywhere")
    assert "know" not in str(other.value)


def test_a_function_that_takes_names_knows_its_own() -> None:
    for function, (module, held) in KNOWN_BY.items():
        names = getattr(import_module(module), held)
        for name in names() if callable(names) else names:
            assert function in known_elsewhere(name)
    assert known_elsewhere(3) == known_elsewhere("") == ""


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["replay", "orca"], "a policy (--policy, --policies)"),
        (["calibrate", "static"], "a policy (--policy, --policies)"),
        (["doctor", "tiny"], "a model (--model)"),
        (["doctor", "tiny", "orca"], "a model (--model)"),
        (["simulate", "--policy", "smollm2-8"], "a recording (`cbviz replay`)"),
        (["simulate", "--cost", "engines-tiny"], "a recording (`cbviz replay`)"),
        (["simulate", "--workload", "opt-13b-h200"], "a recorded decomposition (`cbviz decompose --recorded`)"),
        (["sweep", "policy=static,h200-opt-13b", "requests=10", "--quiet"], "a calibration (--cost)"),
    ],
)
def test_the_command_line_says_what_a_name_is(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"; this is the name of {what}.\n" in said
    assert "knows it" not in said


def test_the_command_line_has_words_for_every_function_that_knows_names() -> None:
    assert list(KNOWN_TO_COMMANDS) == list(KNOWN_BY)
    both = of_commands("there is no x; cbviz.policies.get and cbviz.models.load know it.")
    assert both == "there is no x; this is the name of a policy (--policy, --policies) and a model (--model)."


def test_unknown_recordings_are_refused() -> None:
    with pytest.raises(TraceError, match="there is no recording 'tpu'; there are llama-8b-32"):
        recorded("tpu")

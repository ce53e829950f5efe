"""What a sweep's parameters and the options of `cbviz simulate` mean: the same, and none is ignored."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from cbviz.cli import main
from cbviz.errors import CbvizError
from cbviz.run.asked_work import AskedWork
from cbviz.run.sweep import sweep
from cbviz.run.sweep_work import rehearse, simulated
from cbviz.run.traffic_work import traffic_at

AZURE = str(Path(__file__).parent / "traffic" / "azure_2023_conversation.csv.gz")
DRAWN = "describes requests that are drawn; trace takes them from a file, so leave one of both out"

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a mean for a trace": ({"trace": AZURE, "output_tokens": 9}, f"output_tokens {DRAWN}"),
    "prompts for a trace": ({"trace": AZURE, "prompt_tokens": 9}, f"prompt_tokens {DRAWN}"),
    "a law for a trace": ({"trace": AZURE, "lengths": "foo"}, f"lengths {DRAWN}"),
    "bursts of a trace": ({"trace": AZURE, "rate": 3, "burstiness": 2}, f"burstiness {DRAWN}"),
    "bursts without a rate": ({"burstiness": 2}, "burstiness is about arrivals at a rate; give rate, too"),
    "bursts of clients": ({"burstiness": 2, "clients": 3}, "burstiness is about arrivals at a rate; give rate, too"),
    "clients at a rate": ({"rate": 2, "clients": 3}, "rate and clients exclude each other: in a closed loop the "),
    "a longest of equal ones": (
        {"lengths": "fixed", "output_tokens": 500, "max_new_tokens": 100},
        "lengths fixed gives every output output_tokens tokens, so leave max_new_tokens out",
    ),
    "a mean beyond the longest": (
        {"output_tokens": 100, "max_new_tokens": 10},
        "max_new_tokens 10 is below output_tokens 100; outputs could not be that long",
    ),
    "a usual mean beyond the longest": ({"max_new_tokens": 10}, "max_new_tokens 10 is below output_tokens 128"),
    "two means of a uniform law": (
        {"lengths": "uniform", "output_tokens": 10, "max_new_tokens": 300},
        "lengths uniform is from 1 to max_new_tokens: 300 makes its mean 150.5, and output_tokens is 10; leave one",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_would_change_nothing_is_refused_alike(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By a sweep, by its dry run, and by `cbviz simulate`, whose reader knows the parameters as options."""
    given, sentence = CONTRADICTIONS[case]
    (row,) = sweep({"slots": [4]}, requests=5, **given).rows
    assert sentence in row["error"]
    with pytest.raises(CbvizError, match=re.escape(sentence)):
        rehearse(seed=0, requests=5, **given)

    def option(name: str) -> str:
        return "--workload" if name == "trace" else f"--{name.replace('_', '-')}"

    words = [word for name, value in given.items() if value != "foo" for word in (option(name), str(value))]
    words += ["--lengths", "fixed"] if given.get("lengths") == "foo" else []
    assert main(["simulate", "--requests", "5", "--quiet", *words]) == 2
    names = rf"\b({'|'.join(name for name in signature(simulated).parameters if name != 'requests')})\b"
    known = [name for name in given if name in sentence] + ["rate", "output_tokens"]
    said = re.sub(names, lambda found: option(found[0]) if found[0] in known else found[0], sentence)
    for kept in ("at a --rate", "set the --rate", "closed loop the "):
        said = said.replace(kept, kept.replace("--", ""))
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("law", "mean", "longest"),
    [
        ({}, 125.7, 512),
        ({"lengths": "fixed", "output_tokens": 500}, 500, 500),
        ({"lengths": "uniform", "output_tokens": 10}, 10, 19),
        ({"lengths": "uniform", "output_tokens": 10, "max_new_tokens": 19}, 10, 19),
        ({"lengths": "uniform", "max_new_tokens": 300}, 150.5, 300),
        ({"output_tokens": 20, "max_new_tokens": 200}, 20, 200),
    ],
)
def test_the_mean_is_the_one_that_was_given(law: dict[str, Any], mean: float, longest: int) -> None:
    work = AskedWork(**law).drawn(20_000, 0)
    assert work.output_tokens.mean() == pytest.approx(mean, rel=0.03)
    assert set(work.max_new_tokens.tolist()) == {longest}


def test_the_longest_output_cuts_those_of_a_trace() -> None:
    long, short = sweep({"max_new_tokens": [None, 7]}, trace=AZURE, requests=50).rows
    outputs = traffic_at(AZURE).resampled(50, 0).output_tokens
    assert (long["tokens"], short["tokens"]) == (sum(outputs), sum(min(7, output) for output in outputs))


def test_a_trace_that_comes_at_once_has_no_rate(tmp_path: Path) -> None:
    file = tmp_path / "at-once.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2023-11-16 18:15:46.0,10,10\n" * 3)
    (row,) = sweep({"rate": [3]}, trace=str(file), requests=3).rows
    assert "come at once, and rate stretches the gaps between requests; leave it out, or give clients" in row["error"]


NONSENSE = ("abc", "", 1.5, -1, 0, True, 2**40, 1e300, 10**400)


@pytest.mark.parametrize("base", [{}, {"lengths": "uniform"}, {"lengths": "fixed"}, {"rate": 5.0}, {"clients": 3}])
def test_every_reason_is_a_sentence_of_ours(base: dict[str, Any]) -> None:
    """And a dry run gives the same: whatever Python itself would say is no reason."""
    for name in signature(simulated).parameters:
        for value in NONSENSE if name != "seed" else ():
            said = []
            for serve in (simulated, rehearse):
                try:
                    serve(**{"seed": 0, "requests": 5, **base, name: value})
                except CbvizError as error:
                    said.append(str(error))
                else:
                    said.append("")
            assert said[0] == said[1], (name, value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("lengths=uniform", "output_tokens=abc"), "output_tokens must be a whole number of at least 1, not 'abc'"),
        (("lengths=uniform", "output_tokens=1.5"), "output_tokens must be a whole number of at least 1, not 1.5"),
        (("lengths=exponential", "output_tokens=1.5"), "output_tokens must be a whole number of at least 1, not 1.5"),
        (("lengths=fixed", "output_tokens=-2"), "output_tokens must be a whole number of at least 1, not -2"),
        (
            ("output_tokens=2000000000",),
            "output_tokens must be at most 536,870,911 where outputs may be 4 times as long, not 2000000000; "
            "max_new_tokens sets the longest",
        ),
        (("lengths=uniform", "max_new_tokens=x"), "max_new_tokens must be a whole number of at least 1, not 'x'"),
        (("prompt_tokens=1.5",), "prompt_tokens must be a whole number of at least 1, not 1.5"),
        (("rate=x",), "rate must be a finite number above 0, not 'x'"),
        (("clients=1.5",), "clients must be a whole number of at least 1, not 1.5"),
    ],
)
def test_a_reason_names_the_parameter_that_was_given(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for dry in ([], ["--dry-run"]):
        assert main(["sweep", "policy=static", "requests=5", *words, "--quiet", *dry]) == 2
        assert f": {sentence}." in capsys.readouterr().err


def test_none_is_as_if_a_parameter_were_left_out() -> None:
    usual, none = (sweep({"slots": [4]}, requests=5, **given).rows for given in ({}, {"output_tokens": None}))
    assert usual == none


@pytest.mark.parametrize("seed", [0, 5])
def test_a_dry_run_knows_arrivals_beyond_the_clock(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """They depend on the seed where a rate only just allows them."""
    words = ["sweep", "rate=1e-7,1e-6,1", "requests=1000", "--quiet", "--num-runs", "2", "--seed", str(seed)]
    code = main(words)
    real = capsys.readouterr().err
    assert code == 2
    assert "rate must be at least 1e-06 for 1,000 requests, not 1e-07" in real
    assert ("e+09 s; it must be 0 to 1e+09 s" in real) == (seed == 5)
    assert main([*words, "--dry-run"]) == 2
    assert capsys.readouterr().err == real.replace(" failed: ", " would be refused: ")

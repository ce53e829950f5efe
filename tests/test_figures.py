"""The GPU figures in the README, the benchmarks page and the design page are those of benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
LADDER = (ROOT / "cbviz" / "cuda" / "README.md").read_text("utf-8")
SHORT = README[README.index("## On a GPU") : README.index("## Limits")]
ON_GPU = BENCHMARKS[BENCHMARKS.index("## On an H100") : BENCHMARKS.index("## One run")]
PROSE = " ".join(ON_GPU.split())


def result(name: str, device: str = "h100") -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}_{device}.json").read_text("utf-8"))


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("continuous, 128 requests on 32 slots", "llama8b_w32"),
        ("static, the same work", "llama8b_w32_static"),
        ("continuous, 512 requests on 128 slots", "llama8b_w128"),
        ("static, the same work", "llama8b_w128_static"),
    ],
)
def test_whole_runs(label: str, name: str) -> None:
    run = result(name)
    row = f"| {label} | {run['iterations']:,} | {run['seconds']:.2f} | {run['tokens_per_second']:,.0f} |"
    assert f"{row} {percent(run['efficiency'])} |" in ON_GPU.replace("**", "")
    fastest, slowest = run["seconds_range"]
    assert slowest / fastest <= 1.003


@pytest.mark.parametrize(("requests", "slots"), [(128, 32), (512, 128)])
def test_the_short_table_of_the_readme(requests: int, slots: int) -> None:
    static, refill = result(f"llama8b_w{slots}_static"), result(f"llama8b_w{slots}")
    assert (refill["requests"], refill["slots"]) == (requests, slots)
    row = f"| {requests} requests on {slots} slots | {static['tokens_per_second']:,.0f} "
    row += f"| {refill['tokens_per_second']:,.0f} | {static['seconds'] / refill['seconds']:.2f} "
    assert f"{row}| {percent(refill['efficiency'])} |" in SHORT.replace("**", "")


@pytest.mark.parametrize(
    ("slots", "sentence"), [(32, "{} times the iterations and {} times the time"), (128, "{} and {} times")]
)
def test_static_against_continuous(slots: int, sentence: str) -> None:
    static, refill = result(f"llama8b_w{slots}_static"), result(f"llama8b_w{slots}")
    assert static["output_tokens"] == refill["output_tokens"]
    ratios = (f"{static[what] / refill[what]:.2f}" for what in ("iterations", "seconds"))
    assert sentence.format(*ratios) in PROSE


@pytest.mark.parametrize("name", ["step_llama8b", "step_smollm2"])
def test_steps(name: str) -> None:
    shown = 0
    for step in result(name)["steps"]:
        row = f"| {step['rows']} | {step['context']} | {step['engine_ms']:.2f} | {step['tokens_per_second']:,.0f} |"
        shown += f"{row} {percent(step['efficiency'])} |" in ON_GPU
    assert shown == 3


def test_what_is_said_of_other_runs() -> None:
    many, one, opt = (result(name) for name in ("smollm2_128", "smollm2_1", "opt13b_16"))
    assert f"gives {many['tokens_per_second']:,.0f} tokens/s" in PROSE
    assert f"One slot gives {one['tokens_per_second']:,.0f}:" in PROSE
    assert f"gives {opt['tokens_per_second']:,.0f} tokens/s, {percent(opt['efficiency'])} of its floor" in PROSE
    batching, static = result("llama8b_w32_peers")["peers"]
    assert f"{static['tokens_per_second']:,.0f} tokens/s with `model.generate`" in PROSE
    assert f"{batching['tokens_per_second']:,.0f} with its continuous batching" in PROSE


def test_what_is_said_of_an_h200() -> None:
    short, wide, long, small = (
        result(name, "h200") for name in ("llama8b_w32", "llama8b_w128", "llama8b_long", "smollm2_128")
    )
    beside, third = result("llama8b_long_beside_vllm", "h200"), result("llama8b_long_flash3", "h200")
    assert all("H200" in run["device"] for run in (short, wide, long, small, beside, third))
    figure, floor = "{tokens_per_second:,.0f}".format, "{floor_tokens_per_second:,.0f}".format
    assert f"gives {figure(**short)} tokens/s, {percent(short['efficiency'])} of a floor of {floor(**short)}" in PROSE
    assert f"third {figure(**wide)}, {percent(wide['efficiency'])} of {floor(**wide)}" in PROSE
    assert f"gives {figure(**long)} tokens/s, {percent(long['efficiency'])} of a floor of {floor(**long)}" in PROSE
    ours, vllm = (beside["found"][engine] for engine in ("cbviz", "plain"))
    assert f"and {figure(**third)} with FlashAttention-3" in PROSE
    ratio = ours["tokens_per_second"] / vllm["tokens_per_second"]
    assert f"gave {figure(**ours)} tokens/s and vLLM 0.26 gave {figure(**vllm)}: {ratio:.2f} times" in PROSE
    assert round(ours["seconds"] * ours["tokens_per_second"]) == long["output_tokens"]
    assert round(sum(vllm["seconds"]) / 2 * vllm["tokens_per_second"]) == long["output_tokens"]
    assert f"{figure(**small)} on an H200" in PROSE
    first, second = (start["seconds"] for start in result("first_minute", "h200")["starts"])
    whole, again = sum(first.values()), sum(second.values())
    assert f"took {whole:.1f} s from the command to its first iteration the first time on an H200" in PROSE
    assert f"and {again:.1f} s the second, of which {second['packages']:.1f} were Python's imports" in PROSE


def test_stalls() -> None:
    for found in result("stalls")["policies"]:
        (row,) = (line for line in ON_GPU.splitlines() if line.startswith(f"| {found['policy']} "))
        p50, p99, longest, first = (1000 * found[name] for name in ("itl_p50", "itl_p99", "itl_max", "ttft_p50"))
        assert row.endswith(f"| {found['stalls']} | {p50:.1f} | {p99:.1f} | {longest:.0f} | {first:.0f} |")


def test_the_ladder() -> None:
    ladder = result("ladder")["ladder"]
    for rung in dict.fromkeys(step["rung"] for step in ladder):
        taken = [f"{step['milliseconds']:.3g}" for step in ladder if step["rung"] == rung]
        (row,) = (line for line in LADDER.splitlines() if line.startswith(f"| {rung.removeprefix('eager: ')} |"))
        assert [f"{float(cell):.3g}" for cell in row.split("|")[2:-1]] == taken
    floors = " | ".join(f"{step['floor_ms']:.2f}" for step in ladder[:3])
    assert f"reading weights and cache once* | {floors} |" in LADDER

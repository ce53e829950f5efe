"""The benchmarks page of the site, written from benchmarks/results/ whenever the site is built.

    python tools/docs_benchmarks.py      # print it

No figure is typed here: each comes from a file, and each file is named. Printed output (.txt) is included verbatim. A
file in an unknown format gets a line with its name, so that no result goes unmentioned.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

HEAD = """# Benchmarks

Every figure on this page is read from a recorded result when the page is built; the file is linked beside it. *Tokens*
are output tokens that requests asked for: prompts, held rows and padding never count. The *floor* is the time that the
schedule needs at least for reading and computing, at the bandwidth and the arithmetic rate measured just before.
"""


def results() -> list[Path]:
    """The recorded results, by name."""
    return sorted(path for path in RESULTS.iterdir() if path.suffix in {".json", ".txt"})


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def link(path: Path) -> str:
    """A link to the file."""
    return f"[{path.stem}](results/{path.name})"


def is_bench(result: Any) -> bool:
    """Whether `cbviz bench --json` wrote it."""
    return isinstance(result, dict) and {"tokens_per_second", "efficiency", "policy", "rates"} <= result.keys()


def is_step(result: Any) -> bool:
    """Whether benchmarks/step.py wrote it."""
    return isinstance(result, dict) and "steps" in result


def throughput(found: dict[Path, Any]) -> str:
    """Runs of `cbviz bench`."""
    rows = []
    for path, r in found.items():
        low, high = r["seconds_range"]
        spread = f"{r['seconds']:.2f} ({low:.2f} to {high:.2f})" if r["repeats"] > 1 else f"{r['seconds']:.2f}"
        rows.append(
            (
                f"{link(path)}: {r['model']}, {r['dtype']}",
                r["policy"],
                f"{r['requests']:,}",
                f"{r['slots']:,}",
                f"{r['iterations']:,}",
                spread,
                f"{r['tokens_per_second']:,.0f}",
                f"{r['efficiency']:.0%}",
            )
        )
    head = ("run", "policy", "requests", "slots", "iterations", "seconds (range)", "tokens/s", "of the floor")
    devices = sorted({f"{r['device']}, torch {r['versions']['torch']}, {r['date'][:10]}" for r in found.values()})
    return f"## Throughput\n\n{'; '.join(devices)}.\n\n" + table(head, rows)


def peers(found: dict[Path, Any]) -> str:
    """Other engines on the same work."""
    rows = []
    for path, r in found.items():
        if r["peers"]:
            rows.append((link(path), "cbviz", f"{r['seconds']:.2f}", f"{r['tokens_per_second']:,.0f}"))
        for peer in r["peers"]:
            figures = (
                (peer["error"], "")
                if "error" in peer
                else (f"{peer['seconds']:.2f}", f"{peer['tokens_per_second']:,.0f}")
            )
            rows.append(("", peer["name"], *figures))
    return (
        "## Other engines on the same work\n\n" + table(("run", "engine", "seconds", "tokens/s"), rows) if rows else ""
    )


def memory(path: Path, result: Any) -> str:
    """A prefix cache, and preemption by recompute and by swap."""
    rows = [
        (
            r["name"],
            f"{r['tokens_per_second']:,.0f}",
            f"{r['iterations']:,}",
            f"{r['hits']:.0%}",
            f"{r['recomputed']:,}",
            f"{r['moved_mib']:,.0f}",
        )
        for r in result["runs"]
    ]
    head = ("run", "tokens/s", "iterations", "blocks found in the cache", "tokens computed again", "MiB moved")
    about = "; ".join(part for part in (result.get("note", ""), result["date"][:10]) if part)
    return f"## Common prefixes, and too little memory\n\n{link(path)} ({about})\n\n" + table(head, rows)


def breakdown(found: dict[Path, Any]) -> str:
    """Where the time of a step goes."""
    rows = [
        (
            link(path),
            f"{1000 * r['breakdown']['step_seconds']:.2f}",
            *(f"{r['breakdown'][part]:.0%}" for part in ("gemm", "attention", "other", "gaps")),
        )
        for path, r in found.items()
        if r.get("breakdown")
    ]
    head = ("run", "ms a step", "matrix products", "attention", "other kernels", "gaps")
    return "## Where a step's time goes\n\n" + table(head, rows) if rows else ""


def steps(found: dict[Path, Any]) -> str:
    """Time of a decode step by number of rows."""
    rows = [
        (
            f"{link(path)}: {r['model']}",
            f"{r['rows']:,}",
            f"{r['context']:,}",
            f"{r['engine_ms']:.2f}",
            f"{r['floor_ms']:.2f}",
            f"{r['efficiency']:.0%}",
        )
        for path, result in found.items()
        for r in sorted(result["steps"], key=lambda step: (step["rows"], step["context"]))
    ]
    return "## One decode step\n\n" + table(("model", "rows", "context", "ms", "floor, ms", "of the floor"), rows)


def ladder(path: Path, result: Any) -> str:
    """A decode step from eager to the whole engine."""
    cases = list(dict.fromkeys((r["model"], r["rows"], r["context"]) for r in result["ladder"]))
    taken = {(r["rung"], (r["model"], r["rows"], r["context"])): r for r in result["ladder"]}
    rows = [
        (rung, *(f"{taken[rung, one]['milliseconds']:.2f}" if (rung, one) in taken else "" for one in cases))
        for rung in dict.fromkeys(r["rung"] for r in result["ladder"])
    ]
    floors = {(r["model"], r["rows"], r["context"]): r["floor_ms"] for r in result["ladder"]}
    rows.append(("the floor", *(f"{floors[one]:.2f}" for one in cases)))
    head = ("milliseconds a decode step", *(f"{model}, {n} rows at {context}" for model, n, context in cases))
    about = f"{link(path)}: {result['device']}, {result['date'][:10]}. Every rung includes the rungs before it."
    return f"## What each idea is worth\n\n{about}\n\n" + table(head, rows)


def kv_schemes(path: Path, result: Any) -> str:
    """Share of KV memory in use under four schemes."""
    parts = [f"## KV memory in use\n\n{link(path)}: a pool of {result['kv_tokens']:,} tokens, {result['date'][:10]}.\n"]
    for name, work in result["workloads"].items():
        rows = [
            (scheme, f"{r['used']:.1%}", f"{r['paper']:.1%}", f"{r['running']:.1f}", f"{r['iterations']:,}")
            for scheme, r in work["schemes"].items()
        ]
        parts.append(f"**{name}**: {work['workload']}\n")
        parts.append(table(("scheme", "used", "in the paper", "requests at once", "iterations"), rows))
    return "\n".join(parts)


def frames(path: Path, result: Any) -> str:
    """Frames per second of the board."""
    rows = [
        (f"{r['run']}, {r['movement']}", f"{r['frames']:.0f}", f"{r['gap']:.1f}", f"{r['own']:.1f}")
        for r in result["rows"]
    ]
    head = ("run and movement", "frames a second", "gap, ms (95th percentile)", "the board's own work, ms (95th)")
    return f"## The board in a browser\n\n{link(path)}: {result['browser']}, {result['processor']}.\n\n" + table(
        head, rows
    )


def recording(found: dict[Path, Any]) -> str:
    """What it costs to record every iteration."""
    rows = [
        (
            f"{link(path)}: {r['model']}, {r['requests']:,} requests",
            f"{r['slots']:,}",
            f"{r['seconds_off']:.3f} ({min(r['runs_off']):.3f} to {max(r['runs_off']):.3f})",
            f"{r['seconds_on']:.3f} ({min(r['runs_on']):.3f} to {max(r['runs_on']):.3f})",
            f"{r['cost']:+.1%}",
        )
        for path, result in found.items()
        for r in result["runs"]
    ]
    head = ("run", "slots", "seconds without (range)", "seconds with (range)", "difference")
    return "## What recording costs\n\nMedians of runs in turns.\n\n" + table(head, rows)


def long_run(path: Path, result: Any) -> str:
    """A long run, part by part."""
    rows = [
        (
            f"{number}",
            f"{part['iterations']:,}",
            f"{part['wall_ms']:.2f}",
            f"{part['resident_mib']:,.0f}",
            f"{part['device_allocated_mib']:,.0f}",
        )
        for number, part in enumerate(result["parts"], start=1)
    ]
    head = ("part", "iterations", "ms an iteration", "host memory, MiB", "device memory, MiB")
    what = f"{result['requests']:,} requests on {result['slots']} slots, {result['model']}, {result['device']}"
    return f"## A long run\n\n{link(path)}: {what}.\n\n" + table(head, rows)


def stalls(path: Path, result: Any) -> str:
    """What long prompts do to requests that are decoding."""
    milliseconds = ("itl_p50", "itl_p99", "itl_max", "longest_stall", "ttft_p50", "ttft_p99")
    rows = [
        (r["policy"], f"{r['stalls']:,}", *(f"{1000 * r[name]:,.1f}" for name in milliseconds))
        for r in result["policies"]
    ]
    head = ("scheduler", "stalls", "ITL p50, ms", "p99", "longest", "longest stall", "TTFT p50, ms", "p99")
    what = f"{result['model']}, {result['device']}, {result['date'][:10]}: {result['workload']}"
    note = "ITL and stalls are those of the requests that decode, TTFT that of the long prompts."
    return f"## What long prompts do to the others\n\n{link(path)}: {what}. {note}\n\n" + table(head, rows)


def answers(path: Path, result: Any) -> str:
    """Greedy answers against the model's own."""
    rows = [(f"{d['request']}", f"{d['position'] + 1} of its answer", f"{d['gap']:.4f}") for d in result["divergences"]]
    setting = (
        f"{result['model']}, {result['dtype']}, {result['slots']} slots, {result['device']}, {result['date'][:10]}"
    )
    summary = (
        f"{len(rows)} of {result['requests']} answers diverge from `model.generate`; the two best tokens are at most "
        f"{result['largest_gap']:.3g} apart there"
    )
    return f"## Answers\n\n{link(path)}: {setting}. {summary}.\n\n" + table(
        ("request", "token", "gap of the two best"), rows
    )


def printed(paths: list[Path]) -> str:
    """The printed output of commands."""
    blocks = [f"{link(path)}\n\n```\n{path.read_text('utf-8')}```\n" for path in paths]
    return "\n".join(["## Four schedulers in equal KV memory\n", *blocks])


def page() -> str:
    """The whole page as Markdown."""
    read = {path: json.loads(path.read_text("utf-8")) for path in results() if path.suffix == ".json"}
    bench = {path: result for path, result in read.items() if is_bench(result)}
    step = {path: result for path, result in read.items() if is_step(result)}
    parts = [HEAD]
    if bench:
        parts += [throughput(bench), peers(bench), breakdown(bench)]
    if step:
        parts.append(steps(step))
    recordings = {path: result for path, result in read.items() if path.name.startswith("recording_")}
    if recordings:
        parts.append(recording(recordings))
    rest = []
    for path, result in read.items():
        if path.name == "kv_schemes.json":
            parts.append(kv_schemes(path, result))
        elif path.name == "board_frames.json":
            parts.append(frames(path, result))
        elif path.name.startswith("long_run_"):
            parts.append(long_run(path, result))
        elif path.name.startswith("ladder_"):
            parts.append(ladder(path, result))
        elif path.name.startswith("memory_"):
            parts.append(memory(path, result))
        elif path.name.startswith("stalls_"):
            parts.append(stalls(path, result))
        elif path.name.startswith("answers_"):
            parts.append(answers(path, result))
        elif path not in bench and path not in step and path not in recordings:
            rest.append(f"- {link(path)}")
    if texts := [path for path in results() if path.suffix == ".txt"]:
        parts.append(printed(texts))
    if rest:
        parts.append("## More, as data\n\n" + "\n".join(rest) + "\n")
    return "\n".join(part for part in parts if part)


if __name__ == "__main__":
    sys.stdout.write(page())

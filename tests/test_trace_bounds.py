"""What a trace file may hold: bounded by arithmetic before memory is asked for, and all that is read can be shown."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import cbviz
import cbviz.run.why
from cbviz.errors import CbvizError, TraceError
from cbviz.limits import LONGEST_SECONDS, MOST_CELLS, MOST_COUNT, MOST_ID, MOST_TOKENS, RECORDED_SLOTS
from cbviz.measure import side_by_side
from cbviz.trace import RECORDINGS, Recorder, Trace, recorded
from cbviz.trace.files import digest_of, from_bytes, to_bytes
from cbviz.view import player
from cbviz.view.pack import read, trace_blocks
from cbviz.view.terminal import grid
from cbviz.workload import Request
from tests.clocks import AT_ONCE, at_once
from tests.fake_runs import meta, scheduled_trace, wild_trace

SOUND: dict[str, Any] = json.loads(gzip.decompress(to_bytes(wild_trace(seed=3, requests=7))))


def packed(content: dict[str, Any]) -> bytes:
    """The file with this content, its digest renewed."""
    return zlib.compress(json.dumps({**content, "digest": digest_of(content)}).encode(), 6, wbits=31)


def empty_run(slots: int, iterations: int) -> bytes:
    """A sound file of a run in which no request ever comes."""
    content = copy.deepcopy(SOUND)
    content["meta"]["slots"] = slots
    for table in ("requests", "spans", "marks"):
        content[table] = {column: [] for column in content[table]}
    content["iterations"] = {column: [0] * iterations for column in content["iterations"]}
    content["iterations"]["idle_slots"] = [slots] * iterations
    return packed(content)


def views(trace: Trace, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that shows a trace."""
    board = cbviz.Board(trace)
    yield "page", lambda: player.html([trace])
    yield "notebook", board._repr_mimebundle_
    yield "blocks", lambda: read(trace_blocks(0, trace))
    yield "svg", lambda: board.to_svg(folder / "x.svg")
    yield "png", lambda: board.to_png(folder / "x.png", scale=1)
    yield "gif", lambda: board.to_gif(folder / "x.gif", seconds=0.2, width=300)
    yield "terminal", lambda: Console(file=io.StringIO(), width=80).print(grid(trace, 80))
    yield "perfetto", lambda: trace.to_perfetto(folder / "x.json")
    yield "pandas", trace.to_pandas
    yield "table", lambda: str(side_by_side(trace))
    yield "file", lambda: from_bytes(to_bytes(trace))
    if len(trace.iterations) and len(trace.requests):
        yield "why", lambda: cbviz.why(trace, request=int(trace.requests.id[0]), iteration=0)


SLOW = ("png", "gif", "pandas", "notebook")


def show(trace: Trace, folder: Path, *, refusals: tuple[str, ...] = ("why",), leave_out: tuple[str, ...] = ()) -> None:
    """Every view shows the trace; those named may refuse in one sentence. Warnings are errors."""
    for name, view in views(trace, folder):
        if name in leave_out:
            continue
        began = time.thread_time()
        with np.errstate(all="raise"):
            said = refusal(name, view)
        assert said is None or name in refusals, f"{name}: {said}"
        assert said is None or time.thread_time() - began < AT_ONCE, f"{name} took its time to refuse"


def refusal(name: str, view: Callable[[], object]) -> str | None:
    """What a view refuses with, None if it shows the trace. Anything but a sentence of cbviz's own is a failure."""
    try:
        view()
    except CbvizError as error:
        return one_sentence(error)
    except Exception as error:
        raise AssertionError(f"{name} raised {type(error).__name__}: {error}") from error
    return None


def one_sentence(error: CbvizError) -> str:
    sentence = str(error)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("slots", "iterations"),
    [(RECORDED_SLOTS, 20_000), (RECORDED_SLOTS, 257), (4_096, 4_097), (256, 65_537)],
)
def test_slots_times_iterations_are_bounded_before_memory_is_asked_for(slots: int, iterations: int) -> None:
    data = empty_run(slots, iterations)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    says = f"{slots:,} slots × {iterations:,} iterations are more than {MOST_CELLS:,}"
    with at_once(), pytest.raises(TraceError, match=says):
        from_bytes(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_a_run_that_grew_too_large_keeps_its_tables_and_says_what_cannot_be_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trace = scheduled_trace([4, 2, 3], 2)
    monkeypatch.setattr(sys.modules["cbviz.trace.check"], "MOST_CELLS", 5)
    with pytest.raises(TraceError, match="too large to be drawn"):
        to_bytes(trace)
    with pytest.raises(TraceError, match="too large to be drawn"):
        cbviz.Board(trace)
    assert "iterations" in str(side_by_side(trace))
    assert trace.to_perfetto(tmp_path / "x.json").exists()


@pytest.mark.parametrize(("slots", "iterations"), [(1, 20_000), (2_000, 500), (4_096, 2)])
def test_what_is_read_is_shown(slots: int, iterations: int, tmp_path: Path) -> None:
    show(from_bytes(empty_run(slots, iterations)), tmp_path, refusals=("png", "gif"))


def test_more_slots_than_a_picture_has_rows(tmp_path: Path) -> None:
    trace = from_bytes(empty_run(RECORDED_SLOTS, 2))
    show(trace, tmp_path, refusals=("svg", "png", "gif"))
    assert '<main id="board"></main>' in player.html([trace]), "the page plays it; only its still picture is missing"


@pytest.mark.parametrize("options", [{"width": 8000, "scale": 4}, {"width": 8000, "scale": 3}])
def test_pictures_are_bounded(options: dict[str, Any], tmp_path: Path) -> None:
    traces = [from_bytes(empty_run(3000, 1))] * 4
    with pytest.raises(CbvizError, match=r"this picture is too large: .* pixels of at most"):
        cbviz.Board(*traces).to_png(tmp_path / "x.png", **options)
    with pytest.raises(CbvizError, match="this picture is too large"):
        cbviz.Board(*traces).to_gif(tmp_path / "x.gif", seconds=120, rate=30, width=8000)


HOSTILE = {
    "a bomb": b"[" * 200_000_000,
    "deep": b"[" * 3_900_000,
    "deep tables": b'{"a":' * 1_000_000,
    "one long text": b'"' + b"a" * 120_000_000 + b'"',
    "5 million digits": b"9" * 5_000_000,
    "60 million numbers": b"[" + b"1," * 60_000_000 + b"1]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_refused_at_once(name: str) -> None:
    data = zlib.compress(HOSTILE[name], 1, wbits=31)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_once(), pytest.raises(TraceError) as caught:
        from_bytes(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024, "as KiB"
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- numbers


def everywhere(table: str, column: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(SOUND)
    content[table][column] = [value] * len(content[table][column])
    return content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (everywhere("iterations", "padded", MOST_COUNT + 1), "iterations.padded must lie between"),
        (everywhere("iterations", "evictions", 2**53), "iterations.evictions must lie between"),
        (everywhere("iterations", "waiting", 2**31), "iterations.waiting must lie between"),
        (everywhere("iterations", "t_end", 1e300), "goes back|beyond 1,000,000,000 seconds"),
        (everywhere("requests", "arrival", 1e300), "arrives after"),
        (everywhere("requests", "id", MOST_ID + 1), "requests.id must lie between"),
        (everywhere("requests", "prompt_tokens", MOST_TOKENS + 1), "requests.prompt_tokens must lie between"),
        (everywhere("requests", "max_new_tokens", 2**53), "requests.max_new_tokens must lie between"),
        (everywhere("spans", "context", 2**31), "spans.context must lie between"),
        ({**SOUND, "meta": {**SOUND["meta"], "total_blocks": 2**31}}, "meta.total_blocks must be"),
        ({**SOUND, "meta": {**SOUND["meta"], "block_size": 2**53}}, "meta.block_size must be"),
        ({**SOUND, "meta": {**SOUND["meta"], "slots": RECORDED_SLOTS + 1}}, "meta.slots must be"),
        ({**SOUND, "meta": {**SOUND["meta"], "seed": 2**63}}, "meta.seed must be"),
    ],
)
def test_numbers_that_no_view_could_show_are_refused(content: dict[str, Any], says: str) -> None:
    with pytest.raises(TraceError, match=says):
        from_bytes(packed(content))


def test_the_largest_numbers_are_shown(tmp_path: Path) -> None:
    content = copy.deepcopy(SOUND)
    new = {old: MOST_ID - row for row, old in enumerate(content["requests"]["id"])}
    content["requests"]["id"] = [new[old] for old in content["requests"]["id"]]
    for table in ("spans", "marks"):
        content[table]["request"] = [new.get(old, old) for old in content[table]["request"]]
    content["requests"]["max_new_tokens"] = [MOST_TOKENS] * len(new)
    content["requests"]["tokens"] = [[MOST_TOKENS] * len(tokens) for tokens in content["requests"]["tokens"]]
    content["iterations"]["padded"] = [MOST_COUNT] * len(content["iterations"]["padded"])
    content["iterations"]["t_end"][-1] = LONGEST_SECONDS
    content["meta"]["seed"] = 2**63 - 1
    show(from_bytes(packed(content)), tmp_path)


def test_a_request_that_could_not_be_recorded_is_refused_before_it_runs() -> None:
    for more in ({"id": 2**31}, {"arrival": 1e300}, {"max_new_tokens": 2**31}):
        asked = Request(0, (1,), 2)
        for name, value in more.items():
            object.__setattr__(asked, name, value)  # a Request of its own accord takes no such value
        with pytest.raises(TraceError, match="cannot be recorded"):
            Recorder(meta(1), [asked])


HOSTILE_TEXTS = (
    "</script><script>alert(1)</script>", "\x1b]0;title\x07\x1b[31m", "\0\r\n\t\x7f", "\ud800", "\u202e" * 50,
    "名" * 400, "[bold red]x[/bold red]", "%s{}{0}", "x" * 100_000,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_hostile_text_stays_text_in_every_view(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cbviz.view.raster as raster

    fonts = raster._pillow()[2]
    monkeypatch.setattr(raster, "chinese_font", lambda _, pixels: fonts.load_default(size=pixels))
    content = copy.deepcopy(SOUND)
    for name in ("policy", "policy_summary", "model", "device", "workload"):
        content["meta"][name] = text
    content["requests"]["prompt"] = [text] * len(content["requests"]["prompt"])
    content["requests"]["pieces"] = [[text] * len(tokens) for tokens in content["requests"]["tokens"]]
    admitted = content["marks"]["kind"]
    finish = 2
    content["marks"]["reason"] = [
        old if kind == finish else text for kind, old in zip(admitted, content["marks"]["reason"], strict=True)
    ]
    trace = from_bytes(packed(content))
    show(trace, tmp_path)
    page = player.html([trace])
    assert "<script>alert" not in page
    printed = io.StringIO()
    Console(file=printed, width=80, force_terminal=False).print(grid(trace, 80, color=False))
    assert "\x1b" not in printed.getvalue()
    assert "\x07" not in printed.getvalue()


# ---------------------------------------------------------------- fuzz

NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**53, 2**63, 10**30, 0.5, -0.0, 1e300, True, None, "1", "", [], {})


FREE = (
    ("iterations", "padded"), ("iterations", "evictions"), ("iterations", "t_end"), ("requests", "prompt"),
    ("requests", "pieces"), ("requests", "tokens"), ("requests", "max_new_tokens"), ("requests", "prompt_tokens"),
    ("marks", "reason"), ("meta", "policy"), ("meta", "extra"), ("meta", "total_blocks"), ("meta", "lag"),
)  # fmt: skip
"""What a trace says only once: a change of it is often no contradiction, and every view has to live with it."""


def mutated(content: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A sound file's content with one to three of its values, rows or texts changed."""
    content = copy.deepcopy(content)
    for _ in range(draw.randint(1, 3)):
        place, column = draw.choice(FREE)
        if draw.random() < 0.4:
            place = draw.choice(("meta", "requests", "iterations", "spans", "marks"))
            column = draw.choice(list(content[place]))
        table = content[place]
        value = table[column]
        if isinstance(value, dict):
            names = ("context_limit", "swap_blocks", "preemption", "prefix_cache", "token_budget", "policy", "note")
            value[draw.choice(names)] = draw.choice(NUMBERS)
        elif not isinstance(value, list) or not value:
            table[column] = draw.choice((*NUMBERS, "orca", "static", "\x1b[2J"))
        elif draw.random() < 0.2:
            table[column] = [draw.choice(NUMBERS)] * len(value)
        elif draw.random() < 0.1:
            draw.shuffle(value)
        elif draw.random() < 0.1:
            value.append(copy.deepcopy(value[-1]))
        else:
            at = draw.randrange(len(value))
            old = value[at]
            if isinstance(old, list) and old:
                inner = draw.randrange(len(old))
                old[inner] = (
                    draw.choice(("", "</script>", "\ud800")) if isinstance(old[inner], str) else draw.choice(NUMBERS)
                )
            elif isinstance(old, str):
                value[at] = draw.choice(("", "</script>", "\x1b[2J", "\ud800", "名"))
            else:
                step = isinstance(old, int | float) and draw.random() < 0.5
                value[at] = old + draw.choice((-1, 1)) if step else draw.choice(NUMBERS)
    return content


@pytest.fixture(scope="module")
def real_run() -> dict[str, Any]:
    """A run of a built-in policy, which can be run again to say why."""
    race = cbviz.race("tiny", ["vllm_v1"], slots=2, requests=3, repeats=0, max_new_tokens=8, live=False, device="cpu")
    content: dict[str, Any] = json.loads(gzip.decompress(to_bytes(race.traces[0])))
    return content


def test_mutated_files_are_refused_or_shown(real_run: dict[str, Any], tmp_path: Path) -> None:
    accepted = 0
    for seed in range(300):
        draw = random.Random(seed)
        try:
            trace = from_bytes(packed(mutated(draw.choice((SOUND, real_run)), draw)))
        except TraceError as error:
            one_sentence(error)
            continue
        accepted += 1
        show(trace, tmp_path, leave_out=SLOW if accepted % 6 else ())
    assert accepted > 30, "the mutations must not all be refused, or no view was tried"


def test_the_recordings_keep_all_bounds(tmp_path: Path) -> None:
    for name in RECORDINGS:
        for trace in recorded(name):
            assert from_bytes(to_bytes(trace)) == trace
            assert trace.meta.slots * len(trace.iterations) < MOST_CELLS / 10

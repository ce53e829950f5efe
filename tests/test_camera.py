"""The camera of pictures that move is the board's: the same rule, the same first refill, and it ends with the whole."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cbviz.trace import Trace
from cbviz.view import Board
from cbviz.view.camera import OPEN, TAKES, TICKS, Refill, first_refill, script, shots
from cbviz.view.player import pack
from tests.fake_runs import scheduled_trace, wild_trace
from tests.node import node, shipped_module

LENGTHS = [3, 40, 25, 30] * 12


def long(policy: str) -> Trace:
    return scheduled_trace(LENGTHS, 4, policy)


def of_the_board(code: str, **given: Any) -> Any:
    """The value of an expression of the board's own module, `b`."""
    text = f"""
        import * as b from {json.dumps(shipped_module())};
        import {{ readFileSync }} from "node:fs";
        const given = JSON.parse(readFileSync(0, "utf-8"));
        console.log(JSON.stringify({code}));
    """
    said = json.dumps(given).encode()
    done = subprocess.run([node(), "--input-type=module", "-e", text], input=said, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_the_pace_is_the_boards() -> None:
    runs = [(1, -1), (11, 3), (288, 8), (400, 200), (970, 9), (10_000, -1), (10_000, 30)]
    places = [0.0, 1.0, 4.5, 8.0, 10.0, 30.0, 200.5, 900.0]
    theirs = of_the_board("given.runs.map(([n, at]) => given.places.map(b.script(n, at)))", runs=runs, places=places)
    assert theirs == [[pytest.approx(script(n, at)(c)) for c in places] for n, at in runs]


@pytest.mark.parametrize(
    "traces",
    [
        [long("static"), long("continuous")],
        [long("static")],
        [scheduled_trace([3, 9, 2, 30, 4, 4], 4, "static"), scheduled_trace([3, 9, 2, 30, 4, 4], 4, "continuous")],
        [wild_trace(1)],
        [wild_trace(2)],
    ],
)
def test_the_first_refill_is_the_boards(traces: list[Trace]) -> None:
    packed = list(pack(traces, None, "run"))
    theirs = of_the_board(
        "(() => { const run = new b.Run(); run.add(new Uint8Array(given.packed));"
        " return run.lanes.map((lane) => lane.refill); })()",
        packed=packed,
    )
    ours = first_refill(traces)
    found = [Refill(lane, r["at"], r["slot"], r["request"]) for lane, r in enumerate(theirs) if r]
    assert ours == min(found, key=lambda refill: refill.at, default=None)


def test_it_opens_near_says_who_enters_and_ends_with_the_whole() -> None:
    film = list(shots([long("static"), long("continuous")]))
    n = len(long("static").iterations)
    assert len(film) / TICKS == pytest.approx(TAKES, abs=2)
    assert film[0].columns == OPEN
    assert all(a.at <= b.at for a, b in pairwise(film))
    assert all(shot.first <= shot.at <= shot.first + shot.columns for shot in film), "the cursor stays in sight"
    seen = [shot for shot in film if shot.refill]
    assert {shot.refill for shot in seen} == {Refill(1, 3, 0, 4)}
    assert 3 <= seen[0].at < seen[-1].at < 10
    assert (film[-1].at, film[-1].first) == (n, 0.0)
    assert film[-1].columns == pytest.approx(1.015 * n)


def test_a_gif_is_filmed_by_it(tmp_path: Path) -> None:
    lanes = [long("static"), long("continuous")]
    film = list(shots(lanes))
    picture = Image.open(Board(*lanes).to_gif(tmp_path / "film.gif", width=400, seconds=4, rate=6, camera=True))
    assert picture.n_frames == 24
    for number in (3, 6, 23):
        picture.seek(number)
        pixels = np.asarray(picture.convert("RGB").crop((36, 44, 380, 46))).astype(int)
        coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60).any(axis=0)
        shot = film[round(number / 23 * (len(film) - 1))]
        # Up to the end of request 0, or as far as is shown, its row is coloured.
        end = min(shot.at, 3.0) if shot.first == 0 else 0.0
        px = (380 - 36) / shot.columns
        first = int(coloured[: max(1, round(end * px))].sum())
        assert first >= 0.8 * end * px - 2, (number, shot)
        if number == 3:
            assert int(coloured.sum()) < shot.at * px + 8, "and nothing beyond the cursor"

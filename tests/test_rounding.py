"""Numbers as readers round them: the same in a sentence, in a table, on the board and with pencil and paper."""

from __future__ import annotations

import json
import math
import re
import subprocess
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import nbformat
import pytest

import cbviz
from cbviz.course.capstone import Game, Grade, Waits
from cbviz.course.game import GameResult
from cbviz.course.judging import Mistake
from cbviz.course.lessons import lesson11
from cbviz.measure import side_by_side
from cbviz.measure.rounding import fixed, kept_apart, percent
from cbviz.measure.time_sentences import ratio_text
from tests.node import node

ROOT = Path(__file__).parents[1]
JS = ROOT / "cbviz" / "view" / "js"


def by_hand(number: Fraction, places: int) -> str:
    """Long division, halves up."""
    return f"{Decimal((number * 10**places + Fraction(1, 2)).__floor__()).scaleb(-places):,f}"


def test_a_quotient_of_counts_is_rounded_as_by_hand() -> None:
    for over in range(0, 400, 3):
        for under in (1, 3, 7, 8, 16, 40, 200, 800):
            exact = Fraction(over, under)
            assert fixed(over / under, 2) == by_hand(exact, 2), exact
            if over <= under:
                assert percent(over / under, 1) == f"{by_hand(exact * 100, 1)}%", exact


def test_halves_go_up() -> None:
    assert [percent(eighths / 8) for eighths in (1, 3, 5, 7)] == ["13%", "38%", "63%", "88%"]
    assert [ratio_text(value) for value in (21 / 8, 1.005, 12.25, 100.5)] == ["2.63", "1.01", "12.3", "101"]
    assert fixed(-2.5) == "-3"
    assert fixed(1_234_567.5) == "1,234,568"
    assert fixed(1639, -2) == "1,600"
    assert fixed(1e-300, 2) == "0.00"
    assert fixed(1e300)[:2] == "1,"
    assert (fixed(math.nan), percent(math.inf)) == ("nan", "inf%")


def test_the_board_rounds_alike() -> None:
    shares = [n / 200 for n in range(201)] + [n / 16 for n in range(17)]
    script = (
        f"import {{ WORDS }} from {json.dumps((JS / 'catalogue.js').as_uri())};"
        f"import {{ percent }} from {json.dumps((JS / 'numbers.js').as_uri())};"
        "WORDS.en = {'language.tag': 'en-GB'};"
        f"console.log(JSON.stringify({json.dumps(shares)}.map((s) => [percent('en', s), percent('en', s, 1)])))"
    )
    done = subprocess.run(
        [node(), "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [[percent(share), percent(share, 1)] for share in shares]


def test_shares_of_memory_sum_to_a_hundred_per_cent_as_shown() -> None:
    for trace in (*cbviz.recorded("smollm2-8"), *cbviz.recorded("llama-8b-32")):
        table = side_by_side(trace)
        shown = [table.cells(row)[0] for row in table.rows() if row.startswith("KV")]
        assert sum(Decimal(cell.removesuffix("%")) for cell in shown) == 100, shown


def test_no_share_is_rounded_in_another_way() -> None:
    """A share that is formatted with `%` is rounded to even, beside a board that rounds up."""
    guilty = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "cbviz").rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if re.search(r":,?\.\d%\}", line)
        and not line.lstrip().startswith((">>>", "'", ">>"))
        and path.name != "rounding.py"
    ]
    guilty += [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if re.search(r":,?\.\d%\}", line)
    ]
    assert not guilty


def test_what_is_judged_is_seen() -> None:
    assert kept_apart(12.5, 12.5) == ("13", "13")
    assert kept_apart(13, 12.5) == ("13.0", "12.5"), "13 against 13 would have passed"
    assert kept_apart(159.96, 160.0, 83.2) == ("159.96", "160.00", "83.20")
    games = [Game(1, Waits(mean, worst), 12.31, 12.5) for mean, worst in ((12.34, 12), (12.3, 13), (12.31, 12.5))]
    rows = [re.findall(r"\d[\d.]*", line)[1:5] for line in str(Grade("wrong", "", games)).splitlines()[-3:]]
    for game, (mean, mean_most, worst, worst_most) in zip(games, rows, strict=True):
        assert (float(mean) <= float(mean_most)) == game.mean_passed
        assert (float(worst) <= float(worst_most)) == game.worst_passed


@pytest.mark.parametrize("judge", [lesson11.judge_sooner, lesson11.judge_fewer, lesson11.judge_single])
def test_a_goal_that_is_missed_by_little_does_not_read_as_reached(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for reached in (171, 160.2):
        base = GameResult(iterations=275, mean=307.9, worst=0, preemptions=0, together=0)
        mine = replace(base, iterations=reached, mean=reached)
        monkeypatch.setattr(lesson11, "yardstick", lambda base=base: base)
        monkeypatch.setattr(lesson11, "_played", lambda answer, mine=mine: mine)
        try:
            _, facts = judge(None)
        except Mistake as error:
            facts = error.values
        value = facts.get("iterations", facts.get("mean"))
        share = {"judge_sooner": lesson11.SOONER, "judge_fewer": lesson11.FEWER, "judge_single": lesson11.SINGLE}
        goal = share[judge.__name__] * (base.mean if judge is lesson11.judge_sooner else base.iterations)
        assert (float(value) <= float(facts["goal"])) == (reached <= goal)

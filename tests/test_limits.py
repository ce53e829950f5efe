"""How large a thing may be: refused by arithmetic, in a sentence and at once, on the command line and in Python."""

from __future__ import annotations

from typing import Any

import pytest

import cbviz
from cbviz import cli
from cbviz.checks import whole
from cbviz.cli.options import build_parser
from cbviz.core.block_pool import BlockPool
from cbviz.errors import CapacityError, CbvizError
from cbviz.limits import MOST_BLOCKS, MOST_REQUESTS, MOST_SLOTS
from cbviz.models import LoadedModel, load
from cbviz.run.bench import bench
from cbviz.run.outlook import longest_run, rough, runs_within
from cbviz.run.progress import AT_ONCE, BETWEEN_LINES, LineProgress, progress_for
from cbviz.workload import Request, Workload
from tests.clocks import at_once

HUGE = str(10**9), str(10**12), str(2**64), "9" * 5000
NUMBERS = {
    "race": ("--slots", "--requests", "--repeats", "--max-new-tokens", "--block-size", "--kv-blocks", "--kv-tokens",
             "--swap-blocks", "--seed"),
    "bench": ("--slots", "--requests", "--repeats", "--max-new-tokens", "--prompt-tokens", "--block-size",
              "--kv-blocks", "--swap-blocks", "--seed"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in NUMBERS.items() for o in options])
def test_the_command_line_bounds_every_number(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in HUGE:
        if int(value[:30]) <= 2**31 - 1 and option in ("--max-new-tokens", "--prompt-tokens", "--kv-tokens"):
            continue  # within what an int32 counts: the model's context decides
        if option == "--seed" and int(value[:30]) < 2**63:
            continue  # any seed of 64 bits is as good as another
        with pytest.raises(SystemExit) as stop:
            build_parser().parse_args([command, option, value])
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert option in said
        assert "must be a whole number of at most" in said
        assert said.count("\n") == 1
        assert len(said) < 400


FROM_PYTHON: dict[str, dict[str, Any]] = {
    "slots": {"slots": 65_536},
    "requests": {"requests": 10**9},
    "requests of thousands of digits": {"requests": 10**5000},
    "repeats": {"repeats": 10**9},
    "seed": {"seed": 2**64},
    "max_new_tokens": {"max_new_tokens": 10**12},
    "block_size": {"block_size": 10**9},
    "kv_blocks": {"kv_blocks": 10**12},
    "kv_blocks that memory cannot hold": {"kv_blocks": MOST_BLOCKS, "block_size": 2**20},
    "swap_blocks": {"swap_blocks": 10**12, "preemption": "swap"},
    "swap_blocks that memory cannot hold": {"swap_blocks": MOST_BLOCKS, "preemption": "swap", "block_size": 4096},
}


@pytest.mark.parametrize("name", FROM_PYTHON)
def test_from_python_the_same(name: str, tiny: LoadedModel) -> None:
    for run in (lambda **more: cbviz.race(tiny, live=False, **more), lambda **more: bench(tiny, **more)):
        with at_once(), pytest.raises(CbvizError) as caught:
            run(**FROM_PYTHON[name])
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        assert len(sentence) < 400


def test_a_pool_of_any_size_is_refused_before_it_is_made() -> None:
    for blocks, size in ((MOST_BLOCKS + 1, 16), (10**12, 16), (4, 2**54)):
        with pytest.raises(CapacityError, match="must be a whole number of at most"):
            BlockPool(blocks, size)


def test_the_most_slots_work_and_cost_little_more_than_few(tiny: LoadedModel) -> None:
    """The cache is as large as the requests can use, not as large as all slots could."""
    race = cbviz.race(tiny, ["continuous"], slots=MOST_SLOTS, requests=4, repeats=1, live=False, run=False)
    assert race.kv_blocks == cbviz.race(tiny, ["continuous"], slots=4, requests=4, live=False, run=False).kv_blocks


def test_a_bound_is_a_sentence() -> None:
    assert whole("n", 5, 1, 5) == 5
    for value in (0, 6, True, 1.0, "1", None, 10**5000, -(10**5000)):
        with pytest.raises(CbvizError, match=r"^n must be a whole number of at (least 1|most 5), not .*\.$"):
            whole("n", value, 1, 5)
    assert MOST_REQUESTS >= 10_000


# ---------------------------------------------------------------- how long it takes


def test_the_longest_run_is_that_of_static_batches_with_the_longest_answers(tiny: LoadedModel) -> None:
    race = cbviz.race(tiny, ["static", "continuous"], slots=2, requests=6, repeats=0, live=False)
    prompts = [Request(i, (5, 6, 7), 100) for i in range(6)]
    assert longest_run(Workload("mine", tuple(prompts)), 2, []) == 0

    class Measured:
        def __init__(self, seconds: float, tokens: int, generated: int) -> None:
            import numpy as np

            self.seconds, self.generated, self.tokens = seconds, generated, np.full(2, tokens)

    first: Any = [Measured(9.0, 3, 2), Measured(0.3, 1, 2), Measured(0.2, 1, 2)]
    # 3 batches, each 6 prompt tokens at 0.1 s (the first call's 9 s are no measure), then 99 iterations at 0.2 s.
    assert longest_run(Workload("mine", tuple(prompts)), 2, first) == pytest.approx(3 * (0.6 + 99 * 0.2))
    assert race.traces


@pytest.mark.parametrize(
    ("repeats", "seconds", "enough", "runs"),
    [(3, 10.0, 120.0, 3), (3, 70.0, 120.0, 2), (3, 500.0, 120.0, 1), (3, 500.0, None, 3), (3, 0.0, 120.0, 3)],
)
def test_a_race_begins_no_run_that_would_be_too_late(repeats: int, seconds: float, enough: Any, runs: int) -> None:
    assert runs_within(repeats, seconds, enough) == runs


def test_durations_as_people_say_them() -> None:
    said = [rough(seconds) for seconds in (0.2, 4, 38, 200, 5000, 20_000, 200_000)]
    assert said == ["1 s", "4 s", "40 s", "3 min", "83 min", "5.6 h", "56 h"]


def test_lines_say_the_estimate_at_once_and_then_what_is_left() -> None:
    lines: list[str] = []
    now = 0.0
    progress = LineProgress(lines.append, lambda: now)
    progress.expect(200.0, 20, "2 lanes of 10 requests each")
    progress.start("static", 10)
    progress.advance("static", 0)
    assert lines == []
    now = AT_ONCE
    progress.advance("static", 0, "run 1 of 2")
    assert lines == ["at most about 3 min: 2 lanes of 10 requests each"]
    now += BETWEEN_LINES - 1
    progress.advance("static", 3)
    assert len(lines) == 1
    now = 30.0
    progress.advance("static", 2, "run 1 of 2")
    assert lines[1] == "static, run 1 of 2: 5 of 10, about 90 s left".replace("90 s", rough(90))
    progress.advance("static", 1)
    assert len(lines) == 2, "not more than a line in a while"
    progress.close()


def test_what_is_soon_over_is_over_without_a_word() -> None:
    lines: list[str] = []
    now = 0.0
    progress = LineProgress(lines.append, lambda: now)
    progress.expect(5.0, 4, "1 lane")
    progress.start("static", 4)
    for _ in range(4):
        now += 1.0
        progress.advance("static")
    assert lines == []


def test_a_slow_race_says_how_long_it_takes_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import cbviz.run.progress as module

    monkeypatch.setattr(module, "WORTH_SAYING", 0.0)
    monkeypatch.setattr(module, "AT_ONCE", 0.0)
    argv = ["race", "--slots", "2", "--requests", "4", "--repeats", "1", "--json"]
    assert cli.main(argv) == 0
    out, err = capfd.readouterr()
    assert out.startswith("{")
    assert err.startswith("cbviz: at most about ")
    assert err.splitlines()[0].endswith(": 1 run × 2 lanes of 4 requests each")
    assert cli.main([*argv, "--quiet"]) == 0
    assert capfd.readouterr().err == ""
    assert type(progress_for(True)).__name__ == "SilentProgress"

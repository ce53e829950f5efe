"""Exercises of notebook 11, your scheduler."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.game import GameResult, is_policy, play, yardstick
from cbviz.course.judging import Exercise, Mistake
from cbviz.errors import PolicyError
from cbviz.measure.rounding import fixed, kept_apart

SOONER, FEWER, SINGLE = 0.52, 0.62, 1.1
"""Required share of plain continuous batching's figure: of its mean, of its iterations, and again of its iterations."""

MINE = """import cbviz

class Mine:
    name = "mine"
    summary = "{summary}"

"""

PAGED = """    def plan(self, view):
        running, free, preempt = list(view.running), view.free_blocks, {{}}
        while (need := sum(view.blocks_lacking(r, r.lacks) for r in running)) > free:
            newest = running.pop()
            preempt[newest.id] = "no block is left"
            free += newest.blocks
        free -= need
        admit = []
        for request in sorted(view.waiting, key=lambda r: {key}) if not preempt else ():
            need = view.blocks_for(request.known)
            if len(admit) == view.free_slots or need + len(running) + len(admit) > free:
                break  # one block is left for each request that runs
            admit.append(cbviz.Admit(request.id, reserve=request.known))
            free -= need
        return cbviz.Plan(admit=admit, preempt=preempt)

answer = Mine()"""
SHORTEST = MINE.format(summary="reserve what is known, smallest limit first") + PAGED.format(key="r.max_new_tokens")
LONGEST = MINE.format(summary="reserve what is known, largest limit first") + PAGED.format(key="-r.max_new_tokens")


def _played(answer: Any) -> GameResult:
    """Play with the policy; raises Mistake if it is not a policy or if the engine stops it."""
    if not is_policy(answer):
        raise Mistake("11.no policy", given=shown(answer))
    try:
        return play(answer)
    except PolicyError as error:
        raise Mistake("11.stopped", error=str(error)[:320]) from error


def judge_single(answer: Any) -> tuple[str, dict[str, Any]]:
    """Legal plans that serve every request and admit at most one an iteration, in nearly as few iterations."""
    result, base = _played(answer), yardstick()
    found = _against(SINGLE, iterations=result.iterations, base=base.iterations)
    if result.together > 1:
        raise Mistake("11.single several", together=result.together)
    if result.iterations > SINGLE * base.iterations:
        raise Mistake("11.single slow", **found)
    return "11.single right", found


def judge_sooner(answer: Any) -> tuple[str, dict[str, Any]]:
    """The mean number of iterations to finish a request must fall to 52 % of continuous batching's."""
    result, base = _played(answer), yardstick()
    found = _against(SOONER, mean=result.mean, base=base.mean)
    if result.mean <= SOONER * base.mean:
        more = _rounded(score=100 * base.mean / result.mean, worst=result.worst, base_worst=base.worst)
        return "11.sooner right", {**found, **more}
    raise Mistake(f"11.sooner {_compared(result.mean, base.mean)}", **found)


def judge_fewer(answer: Any) -> tuple[str, dict[str, Any]]:
    """Iterations must fall to 62 % of continuous batching's."""
    result, base = _played(answer), yardstick()
    found = _against(FEWER, iterations=result.iterations, base=base.iterations)
    if result.iterations <= FEWER * base.iterations:
        score = _rounded(score=100 * base.iterations / result.iterations)
        return "11.fewer right", {**found, **score, "preemptions": result.preemptions}
    raise Mistake(f"11.fewer {_compared(result.iterations, base.iterations)}", **found)


def _rounded(**values: float) -> dict[str, Any]:
    """Values for the words, as whole numbers."""
    return {name: fixed(value) for name, value in values.items()}


def _against(share: float, *, base: float, **reached: float) -> dict[str, Any]:
    """What was reached, the base, and the goal, a share of the base, with the decimals that tell them apart."""
    ((name, value),) = reached.items()
    return dict(zip((name, "base", "goal"), kept_apart(value, base, share * base), strict=True))


def _compared(value: float, base: float) -> str:
    return "same" if value == base else "worse" if value > base else "near"


EXERCISES = (
    Exercise(
        "11.single",
        judge_single,
        "11.single right",
        ("11.single hint 1", "11.single hint 2"),
        MINE.format(summary="the next in the queue, one an iteration")
        + """    def plan(self, view):
        return cbviz.Plan(admit=view.fitting()[:1])

answer = Mine()""",
    ),
    Exercise("11.sooner", judge_sooner, "11.sooner right", ("11.sooner hint 1", "11.sooner hint 2"), SHORTEST),
    Exercise(
        "11.fewer",
        judge_fewer,
        "11.fewer right",
        ("11.fewer hint 1", "11.fewer hint 2", "11.fewer hint 3"),
        LONGEST,
    ),
)

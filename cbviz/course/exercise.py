"""Exercises: judge an answer, say in one sentence what is wrong with it, and give hints step by step.

An exercise knows its common mistakes: a wrong answer gets the matching sentence, and from the second wrong answer on
one more hint each time. Solutions are shown only on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from cbviz.checks import PASSING, shown
from cbviz.course.judging import Exercise, Mistake, raised
from cbviz.course.lessons import LESSONS
from cbviz.course.limit import TooSlow, within
from cbviz.course.plain import plain
from cbviz.course.show import Shown
from cbviz.course.show import table as as_table
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.view.colours import GREEN, INK, VERMILION

GRADED = "11.capstone"
"""The task that `course.grade` judges: its solutions are not in the package."""
SECONDS_TO_JUDGE = 30.0
"""Seconds after which a learner's function is stopped."""


@dataclass(slots=True)
class _Record:
    """A learner's progress with one exercise in this kernel."""

    wrong: int = 0
    right: bool = False
    seen: list[Any] = field(default_factory=list)


_records: dict[str, _Record] = {}


class Verdict(Shown):
    """The result of `check`. `right` is None if there was no answer."""

    def __init__(self, right: bool | None, html: str, text: str) -> None:
        super().__init__(html, text)
        self.right = right


def exercises() -> dict[str, Exercise]:
    """Every exercise of the course by name."""
    return {exercise.name: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}


def check(name: str, answer: Any) -> Verdict:
    """Say whether an answer is right, and if not, what is wrong with it.

    Parameters
    ----------
    name
        The exercise, such as "01.spell".
    answer
        A number, a choice, a list, a function or a policy, as the exercise asks. Numbers and arrays of numpy and torch
        count as the numbers and lists that they hold, also where a function returns them. `...` or None means not
        answered yet.

    Returns
    -------
    Verdict
        Displayed by a notebook; `right` is True, False or None.

    Raises
    ------
    CbvizError
        There is no such exercise.

    Examples
    --------
    >>> check("01.spell", 20).right
    True
    >>> check("01.spell", 19).right
    False
    """
    exercise = _find(name)
    if answer is ... or answer is None:
        sentence = say("not answered", name=name)
        return Verdict(None, _boxed(INK, "", [sentence]), sentence)
    record = _records.setdefault(name, _Record())
    try:
        scored = within(SECONDS_TO_JUDGE, lambda: exercise.judge(plain(answer)))
    except Mistake as mistake:
        return _wrong(exercise, record, str(mistake))
    except TooSlow:
        return _wrong(exercise, record, say("too slow", seconds=f"{SECONDS_TO_JUDGE:g}"))
    except (CbvizError, *PASSING):
        raise
    except BaseException as error:  # no truth value of an array, no whole number for NaN, or the learner's own code
        return _wrong(exercise, record, say("cannot judge", error=raised(error)))
    record.right = True
    key, values = scored or (exercise.praise, {})
    sentence = say(key, **values)
    return Verdict(True, _boxed(GREEN, say("right"), [sentence]), f"{say('right')} {sentence}")


def _wrong(exercise: Exercise, record: _Record, sentence: str) -> Verdict:
    record.wrong += 1
    lines = [sentence]
    given = min(record.wrong - 1, len(exercise.hints))
    for number, key in enumerate(exercise.hints[:given], start=1):
        lines.append(f"{say('hint', number=number, all=len(exercise.hints))} {say(key)}")
    if record.wrong > len(exercise.hints):
        lines.append(say("look up", name=exercise.name))
    return Verdict(False, _boxed(VERMILION, say("wrong"), lines), "\n".join([f"{say('wrong')} {lines[0]}", *lines[1:]]))


def solution(name: str) -> Shown:
    """Show a solution of an exercise.

    Parameters
    ----------
    name
        The exercise, such as "01.spell".

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        There is no such exercise, or it is the graded task, which has no solution in the package.
    """
    exercise = _find(name)
    title = say("solution", name=name)
    code = f"<pre><code>{escape(exercise.solution)}</code></pre>"
    return Shown(f"<details open><summary>{escape(title)}</summary>{code}</details>", f"{title}\n{exercise.solution}")


def progress(notebook: str = "") -> Shown:
    """The learner's progress in this kernel: each exercise is right, not yet right, or not answered.

    Parameters
    ----------
    notebook
        Number of a notebook, such as "11"; "" means the whole course.

    Returns
    -------
    Shown
        A table, displayed by a notebook.

    Raises
    ------
    CbvizError
        No notebook of that number has exercises.
    """
    number = str(notebook) if isinstance(notebook, str | int) and shown(notebook).isdecimal() else notebook
    chosen = [name for name in exercises() if isinstance(number, str) and name.startswith(number)]
    if not chosen:
        raise CbvizError(f"no notebook {shown(notebook)} has exercises.")
    rows = []
    for name in chosen:
        record = _records.get(name)
        rows.append((name, say("open" if record is None else "done" if record.right else "tried")))
    return as_table(["exercise", "state"], rows)


def forget() -> None:
    """Forget all answers."""
    _records.clear()


def _find(name: str) -> Exercise:
    known = exercises()
    if isinstance(name, str) and name == GRADED:
        raise CbvizError(say("11.graded only", name=GRADED))
    if not isinstance(name, str) or name not in known:
        raise CbvizError(f"there is no exercise {shown(name)}; there are {', '.join(known)}.")
    return known[name]


def _boxed(colour: str, head: str, lines: Sequence[str]) -> str:
    first, *rest = (f"<div>{escape(line)}</div>" for line in lines)
    title = f'<strong style="color:{colour}">{escape(head)}</strong> ' if head else ""
    return (
        f'<div style="border-left:4px solid {colour};padding:4px 12px">'
        f"{first.replace('<div>', f'<div>{title}', 1)}{''.join(rest)}</div>"
    )

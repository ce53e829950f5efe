"""Exercises: judge an answer, say in one sentence what is wrong with it, and give hints by degrees.

An exercise knows its mistakes: a wrong answer gets the sentence that fits it, and from the second wrong answer on a
hint as well, each time one more. Solutions are shown on request only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from cbviz.checks import as_float, one_line, shown
from cbviz.course.limit import TooSlow, within
from cbviz.course.show import Shown
from cbviz.course.show import table as as_table
from cbviz.course.words import say
from cbviz.errors import CbvizError

MOST = 2.0**53
"""Whole numbers below are exact as floats, and no answer comes near it."""
PATIENCE = 30.0
"""Seconds after which a learner's function is stopped."""


class Mistake(Exception):  # noqa: N818 (the learner's mistake, not an error of ours)
    """What is wrong with an answer: a key of the table of words, and the values for it."""

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.key = key
        self.values = values

    def __str__(self) -> str:
        try:
            return say(self.key, **self.values)
        except ValueError as error:  # a number with too many digits to be written
            return say("cannot judge", error=one_line(error))


@dataclass(frozen=True, slots=True)
class Exercise:
    """One question to the learner.

    Attributes
    ----------
    name
        Number of the notebook and a word, such as "01.spell".
    judge
        Takes the answer; raises `Mistake` if it is wrong, else returns None or, for an answer that has a score, a key
        of the words to praise it with and the values for them.
    praise
        Key of the words that say why a right answer is right.
    hints
        Keys of the hints, from a nudge to nearly everything.
    solution
        Code or a value, the same in both languages, as a learner would write it after `answer = `, or as a cell.
    """

    name: str
    judge: Callable[[Any], tuple[str, dict[str, Any]] | None]
    praise: str
    hints: tuple[str, ...]
    solution: str


@dataclass(slots=True)
class _Record:
    """What happened with an exercise in this kernel."""

    wrong: int = 0
    right: bool = False
    seen: list[Any] = field(default_factory=list)


_records: dict[str, _Record] = {}


class Verdict(Shown):
    """What `check` says. `right` is None where nothing was answered."""

    def __init__(self, right: bool | None, html: str, text: str) -> None:
        super().__init__(html, text)
        self.right = right


def exercises() -> dict[str, Exercise]:
    """Every exercise of the course by name."""
    from cbviz.course.lessons import LESSONS

    return {exercise.name: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}


def check(name: str, answer: Any) -> Verdict:
    """Say whether an answer is right, and if not, what is wrong with it.

    Parameters
    ----------
    name
        Of the exercise, such as "01.spell".
    answer
        A number, a choice, a function or a policy, as the exercise asks; `...` or None has not been answered yet.

    Raises
    ------
    CbvizError
        There is no such exercise.
    """
    exercise = _find(name)
    if answer is ... or answer is None:
        sentence = say("not answered", name=name)
        return Verdict(None, _boxed("#747a82", "", [sentence]), sentence)
    record = _records.setdefault(name, _Record())
    try:
        scored = within(PATIENCE, lambda: exercise.judge(answer))
    except Mistake as mistake:
        return _wrong(exercise, record, str(mistake))
    except TooSlow:
        return _wrong(exercise, record, say("too slow", seconds=f"{PATIENCE:g}"))
    except CbvizError:
        raise
    except Exception as error:  # an array has no truth value, NaN is no whole number, a comparison may be the learner's
        told = say("cannot judge", error=f"{type(error).__name__}: {one_line(error)}")
        return _wrong(exercise, record, told)
    record.right = True
    key, values = scored or (exercise.praise, {})
    sentence = say(key, **values)
    return Verdict(True, _boxed("#009E73", say("right"), [sentence]), f"{say('right')} {sentence}")


def _wrong(exercise: Exercise, record: _Record, sentence: str) -> Verdict:
    record.wrong += 1
    lines = [sentence]
    given = min(record.wrong - 1, len(exercise.hints))
    for number, key in enumerate(exercise.hints[:given], start=1):
        lines.append(f"{say('hint', number=number, all=len(exercise.hints))} {say(key)}")
    if record.wrong > len(exercise.hints):
        lines.append(say("look up", name=exercise.name))
    return Verdict(False, _boxed("#D55E00", say("wrong"), lines), "\n".join([f"{say('wrong')} {lines[0]}", *lines[1:]]))


def solution(name: str) -> Shown:
    """Show a solution of an exercise. Raises CbvizError if there is no such exercise."""
    exercise = _find(name)
    title = say("solution", name=name)
    code = f"<pre><code>{escape(exercise.solution)}</code></pre>"
    return Shown(f"<details open><summary>{escape(title)}</summary>{code}</details>", f"{title}\n{exercise.solution}")


def progress(notebook: str = "") -> Shown:
    """How the exercises went in this kernel: right, not yet, or not answered.

    Parameters
    ----------
    notebook
        Number of a notebook, such as "11"; "" is the whole course.

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
    """Begin again: no exercise was ever answered."""
    _records.clear()


def _find(name: str) -> Exercise:
    known = exercises()
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


# ---------------------------------------------------------------------- what most judges begin with


def whole_number(answer: Any) -> int:
    """The answer as a whole number. Raises Mistake if it is none."""
    value = as_float(answer)  # NaN where it is no number
    if not abs(value) < MOST or not value.is_integer():
        raise Mistake("needs whole number", given=shown(answer))
    return int(value)


def number(answer: Any) -> float:
    """The answer as a finite number. Raises Mistake if it is none."""
    value = as_float(answer)
    if not math.isfinite(value):
        raise Mistake("needs number", given=shown(answer))
    return value


def choice(answer: Any, choices: Sequence[str]) -> str:
    """The answer as one of the choices, in capitals. Raises Mistake if it is none of them."""
    given = answer.strip().upper() if isinstance(answer, str) else ""
    if given not in choices:
        raise Mistake("needs choice", choices=", ".join(choices), given=shown(answer))
    return given


def called(function: Any, *arguments: Any, call: str = "") -> Any:
    """What a learner's function returns. Raises Mistake if it is no function, or if it raises."""
    if not callable(function) or isinstance(function, type):
        raise Mistake("needs function", given=shown(function))
    try:
        return function(*arguments)
    except Mistake:
        raise  # something that we handed to the function found it out
    except Exception as error:
        text = call or f"{getattr(function, '__name__', 'f')}({', '.join(map(shown, arguments))})"
        raise Mistake("function raised", error=f"{type(error).__name__}: {one_line(error)}", call=text) from error

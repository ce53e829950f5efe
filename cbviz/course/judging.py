"""What an exercise is made of: the question, the mistakes that it knows, and what most judges begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.checks import finite, one_line, shown
from cbviz.course.words import say

MOST = 2.0**53
"""Whole numbers below this are exact as floats, and no answer comes near it."""


class Mistake(Exception):  # noqa: N818 (the learner's mistake, not an error of ours)
    """What is wrong with an answer: the key of a message, and the values to fill in."""

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.key = key
        self.values = values

    def __str__(self) -> str:
        try:
            return say(self.key, **self.values)
        except ValueError as error:  # a number with too many digits to convert
            return say("cannot judge", error=one_line(error))


@dataclass(frozen=True, slots=True)
class Exercise:
    """One question to the learner.

    Attributes
    ----------
    name
        Number of the notebook and a word, such as "01.spell".
    judge
        Takes the answer; raises `Mistake` if it is wrong. Otherwise it returns None or, for an answer with a score, the
        key of a message of praise and the values to fill in.
    praise
        Key of the message that says why a right answer is right.
    hints
        Keys of the hints, from a nudge to almost the solution.
    solution
        Code or a value, the same in both languages, as a learner would write it in a cell.
    """

    name: str
    judge: Callable[[Any], tuple[str, dict[str, Any]] | None]
    praise: str
    hints: tuple[str, ...]
    solution: str


def whole_number(answer: Any) -> int:
    """The answer as a whole number. Raises Mistake if it is not one."""
    value = finite(answer)
    if value is None or not abs(value) < MOST or not value.is_integer():
        raise Mistake("needs whole number", given=shown(answer))
    return int(value)


def number(answer: Any) -> float:
    """The answer as a finite number. Raises Mistake if it is not one."""
    value = finite(answer)
    if value is None:
        raise Mistake("needs number", given=shown(answer))
    return value


def choice(answer: Any, choices: Sequence[str]) -> str:
    """The answer as one of the choices, in capitals. Raises Mistake if it is not one of them."""
    given = answer.strip().upper() if isinstance(answer, str) else ""
    if given not in choices:
        raise Mistake("needs choice", choices=", ".join(choices), given=shown(answer))
    return given


def picked(answer: Any, right: str, mistakes: Mapping[str, str]) -> None:
    """Judge the answer to a question with choices, of which one is right and each other has its own Mistake.

    Raises
    ------
    Mistake
        Another choice than the right one, or none of them.
    """
    given = choice(answer, sorted((right, *mistakes)))
    if given != right:
        raise Mistake(mistakes[given])


def called(function: Any, *arguments: Any, call: str = "") -> Any:
    """Call a learner's function and return its result. Raises Mistake if it is not a function, or raises."""
    if not callable(function) or isinstance(function, type):
        raise Mistake("needs function", given=shown(function))
    try:
        return function(*arguments)
    except Mistake:
        raise  # an object that we passed to the function has found the mistake
    except Exception as error:
        text = call or f"{getattr(function, '__name__', 'f')}({', '.join(map(shown, arguments))})"
        raise Mistake("function raised", error=f"{type(error).__name__}: {one_line(error)}", call=text) from error

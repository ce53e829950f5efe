"""What an exercise is made of: the question, the mistakes that it knows, and what most judges begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.checks import PASSING, as_int, finite, one_line, shown
from cbviz.course.plain import EXACT, plain
from cbviz.course.words import say


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
    """The answer as a whole number. Raises Mistake if it is not one, or far too large."""
    _within_reach(answer)
    value = finite(answer)
    if value is None or not value.is_integer():
        raise Mistake("needs whole number", given=shown(answer))
    return int(value)


def number(answer: Any) -> float:
    """The answer as a finite number. Raises Mistake if it is not one, or far too large."""
    _within_reach(answer)
    value = finite(answer)
    if value is None:
        raise Mistake("needs number", given=shown(answer))
    return value


def whole_result(given: Any, key: str, call: str, **values: Any) -> int:
    """What a learner's function gave, as a whole number.

    Parameters
    ----------
    given
        Its result, from `called`.
    key, values
        What to say of a result that is no whole number; `given` and `call` are filled in.
    call
        How the function was called, as code.

    Raises
    ------
    Mistake
        It is no whole number, or far too large.
    """
    _within_reach(given, call)
    value = finite(given)
    if value is None or not value.is_integer():
        raise Mistake(key, call=call, given=shown(given), **values)
    return int(value)


def real_result(given: Any, key: str, call: str, **values: Any) -> float:
    """What a learner's function gave, as a finite number. Raises Mistake; see `whole_result`."""
    _within_reach(given, call)
    value = finite(given)
    if value is None:
        raise Mistake(key, call=call, given=shown(given), **values)
    return value


def real_results(given: Any, key: str, call: str, **values: Any) -> list[float]:
    """What a learner's function gave, as a list of finite numbers. Raises Mistake; see `whole_result`."""
    if not isinstance(given, list | tuple) or any(finite(value) is None and as_int(value) is None for value in given):
        raise Mistake(key, call=call, given=shown(given), **values)
    return [real_result(value, key, call, **values) for value in given]


def rounded(given: float, right: float) -> bool:
    """Whether it is the right number but for rounding: to some decimals, or to the digits of a short float."""
    near = abs(given - right) <= 0.005 * abs(right)
    return near or (given != 0 and any(abs(given - round(right, places)) < 1e-9 for places in range(7)))


def _within_reach(given: Any, call: str = "") -> None:
    """Raises Mistake for a number too large for any answer: it is still a whole number, and must not be called none."""
    whole = as_int(given)
    size = finite(given) if whole is None else whole
    if size is not None and abs(size) >= EXACT:
        raise Mistake("result too far", call=call) if call else Mistake("too far")


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
    """Call a learner's function and return its result, made `plain`. Raises Mistake if it is no function, or raises."""
    if not callable(function) or isinstance(function, type):
        raise Mistake("needs function", given=shown(function))
    try:
        return plain(function(*arguments))
    except Mistake:
        raise  # an object that we passed to the function has found the mistake
    except PASSING:
        raise
    except BaseException as error:  # SystemExit as well: a notebook would say nothing, or end
        text = call or f"{getattr(function, '__name__', 'f')}({', '.join(map(shown, arguments))})"
        raise Mistake("function raised", error=raised(error), call=text) from error


def raised(error: BaseException) -> str:
    """An error as a piece of a sentence: its type, and what it says if it says more."""
    kind, said = type(error).__name__, one_line(error)
    return kind if said == kind else f"{kind}: {said}"

"""A guess before the run, and later the guess beside the result.

    guess = course.predict(range(1, 41))    # a slider; letters such as "ABC" give buttons
    guess                                   # shows it
    …
    guess.beside(11)                        # the guess and the result, on one line

A guess is optional: without one the result is shown alone, and the notebook runs through. The notebook stores no
guess; a saved one shows that none was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import pairwise
from typing import Any

from cbviz.checks import finite, one_of, shown
from cbviz.course.control import CourseControl
from cbviz.course.show import Shown
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.view.colours import GREEN, INK, VERMILION
from cbviz.view.svg import image

MOST_CHOICES = 8
NEAR = 1.1
"""A guess within this factor of the result counts as close."""

MEASURED, GUESSED = GREEN, VERMILION
"""The marks differ in shape, too."""


class Prediction(CourseControl):
    """A learner's guess before the run. Made by `predict`.

    Attributes
    ----------
    guess
        The guess; None until the learner makes one.
    """

    def __init__(self, values: tuple[Any, ...], unit: str, choices: bool) -> None:
        self.values = values
        self.unit = unit
        self.choices = choices
        self.guess: Any = None

    def _still(self) -> Shown:
        text = self._guess_text()
        return Shown(f'<span style="opacity:0.75">{escape(text)}</span>', text)

    def _guess_text(self) -> str:
        if self.guess is not None:
            return say("guessed", guess=self._worded(self.guess))
        if self.choices:
            return say("no choice yet", choices=", ".join(map(str, self.values)))
        return say("no guess yet", first=self._worded(self.values[0]), last=self._worded(self.values[-1]))

    def _build(self, widgets: Any) -> Any:
        if not self.choices:
            from cbviz.view.slider import slider

            # The slider starts at a question mark: until the learner moves it, there is no guess.
            return slider(
                say("guess"), ["?", *map(self._worded, self.values)], 0, lambda index: self._record(index - 1)
            )
        control = widgets.ToggleButtons(
            options=[str(value) for value in self.values], value=None, style={"button_width": "auto"}
        )
        control.observe(lambda change: self._record(-1 if change["new"] is None else change["new"]), names="index")
        return widgets.HBox([widgets.Label(say("guess")), control])

    def _record(self, index: int) -> None:
        """Set the guess from the index of its value; -1 is none."""
        self.guess = None if index < 0 else self.values[index]

    def _worded(self, value: Any) -> str:
        return f"{_number(value)}{self.unit}"

    def beside(self, result: Any) -> Shown:
        """Show the guess beside the result of a run.

        Parameters
        ----------
        result
            A number if the guess is a number, else one of the choices.

        Returns
        -------
        Shown
            A sentence and, for numbers, a number line with both.

        Raises
        ------
        CbvizError
            The result is of another kind than the guess.
        """
        if self.choices:
            one_of("the result", result, self.values)
        elif not _is_number(result):
            raise CbvizError(f"the result must be a finite number, not {shown(result)}.")
        sentence = self._sentence(result)
        picture = "" if self.choices else _line([*self.values], result, self.guess, self._worded)
        return Shown(f"<div>{picture}<div>{escape(sentence)}</div></div>", sentence)

    def _sentence(self, result: Any) -> str:
        words = self._worded(result)
        if self.guess is None:
            return say("choice without guess" if self.choices else "result without guess", result=words)
        guess = self._worded(self.guess)
        if self.choices:
            return say("guess met" if self.guess == result else "guess far from result", guess=guess, result=words)
        if self.guess > 0 and result > 0:
            factor = max(self.guess / result, result / self.guess)
            if factor <= NEAR:
                return say("guess met", guess=guess, result=words)
            return say("guess beside result", guess=guess, result=words, factor=f"{factor:.2g}")
        met = self.guess == result
        return say("guess met" if met else "guess far from result", guess=guess, result=words)


def predict(values: Iterable[Any], unit: str = "") -> Prediction:
    """Ask for a guess, to be shown beside the result later.

    Parameters
    ----------
    values
        The possible guesses: numbers in rising order (a slider), or texts such as "ABC" (buttons).
    unit
        Written after the number, such as "×".

    Returns
    -------
    Prediction
        Displayed by a notebook; call `beside` with the result.

    Raises
    ------
    CbvizError
        Fewer than two values, numbers that do not rise, more than eight choices, or a mixture.

    Examples
    --------
    >>> guess = predict(range(1, 41))
    >>> guess.guess is None  # until the learner moves the slider
    True
    """
    try:
        offered = tuple(values)
    except Exception:  # an iterator is the caller's code
        raise CbvizError(f"predict needs the possible guesses, such as range(1, 11), not {shown(values)}.") from None
    if not isinstance(unit, str):
        raise CbvizError(f"the unit must be a text, such as '×', not {shown(unit)}.")
    if len(offered) < 2:
        raise CbvizError("predict needs at least two values to choose from.")
    if all(isinstance(value, str) for value in offered):
        if len(offered) > MOST_CHOICES or len(set(offered)) != len(offered):
            raise CbvizError(f"predict takes two to {MOST_CHOICES} different choices, not {shown(offered)}.")
        return Prediction(offered, "", choices=True)
    if not all(_is_number(value) for value in offered):
        raise CbvizError("predict takes either numbers or texts, not a mixture.")
    plain = tuple(value if isinstance(value, int) else float(value) for value in offered)
    if any(later <= earlier for earlier, later in pairwise(plain)):
        raise CbvizError("the numbers to choose from must rise.")
    return Prediction(plain, unit, choices=False)


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _line(values: list[float], result: float, guess: float | None, worded: Any) -> str:
    """A number line with the result (a disc) and the guess (a ring) on it, as an image that runs no script."""
    low, high = min(values[0], result), max(values[-1], result)
    width, left, right, middle = 520, 60, 440, 34

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    def mark(value: float, colour: str, ring: bool, y: int) -> str:
        x, fill = at(value), "none" if ring else colour
        return (
            f'<circle cx="{x:.1f}" cy="{middle}" r="7" fill="{fill}" stroke="{colour}" stroke-width="2.5"/>'
            f'<text x="{x:.1f}" y="{y}" text-anchor="middle" font-weight="600" fill="{colour}">'
            f"{escape(worded(value))}</text>"
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="64" font-size="13" '
        'font-family="system-ui, sans-serif">',
        f'<path d="M{left} {middle}H{right}" stroke="{INK}" stroke-width="2"/>',
        f'<text x="{left - 14}" y="{middle + 4}" text-anchor="end" fill="{INK}">{escape(worded(low))}</text>',
        f'<text x="{right + 14}" y="{middle + 4}" fill="{INK}">{escape(worded(high))}</text>',
        mark(result, MEASURED, False, middle - 15),
    ]
    if guess is not None:
        parts.append(mark(guess, GUESSED, True, middle + 24))
    svg = "".join([*parts, "</svg>"])
    return image(svg)

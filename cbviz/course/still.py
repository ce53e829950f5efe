"""The first iterations of a run, large: a cell for each slot and iteration, with the token that it gave.

For readers who see a board for the first time: what a row, a column, a colour and grey mean is written into the
picture. An SVG image and plain text, the same bytes for the same run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

import numpy as np

from cbviz.checks import shown, whole
from cbviz.course.show import Shown, as_utf8
from cbviz.course.words import say, term
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.trace import Trace
from cbviz.view.colours import INK, colour_of, ink_on, text_on, thin
from cbviz.view.look import dense
from cbviz.view.svg import image

MOST_SLOTS, MOST_ITERATIONS = 16, 24
CELL, ROW, ASKED, LEFT, TOP = 60, 27, 246, 292, 40
"""Pixels: width and height of a cell, width of the questions, and where the cells begin."""
CAPTIONS = ("still row", "still column", "still colour", "still grey")
DOTS = "①②③④"


def still(trace: Trace, *, first: int = 0, iterations: int = 10) -> Shown:
    """Draw some iterations of a run with the words that were written, and say how to read them.

    Parameters
    ----------
    trace
        The run: at most 16 slots.
    first
        The first iteration in the picture.
    iterations
        How many, 2 to 24; fewer if the run ends earlier.

    Returns
    -------
    Shown
        Displayed by a notebook.

    Raises
    ------
    CbvizError
        This is no trace, it has too many slots, or it has fewer than two iterations from `first` on.

    Examples
    --------
    >>> import cbviz
    >>> print(still(cbviz.recorded("smollm2-8")[0], first=6, iterations=4))
    static, iterations 6 to 9
    slot 0, request 0: ␣processes ␣information ␣using ␣algorithms
    slot 1, request 1: ␣foods ␣to ␣provide ␣your
    slot 2, request 2: ␣who ␣specializes ␣in ␣the
    slot 3, request 3: ␣problem ␣is ␣ 4
    slot 4, request 4: ␣pattern ␣of ␣weather ␣in
    slot 5, request 5: ␣Seoul . END ×
    slot 6, request 6: ␣instructions ␣that ␣determines ␣how
    slot 7, request 7: . END × ×
    """
    if not isinstance(trace, Trace):
        raise CbvizError(f"a still shows a trace, such as race.traces[0], not {shown(trace)}.")
    if trace.meta.slots > MOST_SLOTS:
        raise CbvizError(f"a still shows at most {MOST_SLOTS} slots; this run has {trace.meta.slots}.")
    whole("first", first, 0)
    whole("iterations", iterations, 2, MOST_ITERATIONS)
    end = min(first + iterations, len(trace.iterations))
    if end - first < 2:
        raise CbvizError(f"this run has {len(trace.iterations)} iterations: no two from iteration {first} on.")
    states, owners = (grid[:, first:end] for grid in dense(trace))
    words = _words(trace, first, end)
    return Shown(_picture(trace, first, states, owners, words), _text(trace, first, states, owners, words))


def _words(trace: Trace, first: int, end: int) -> dict[tuple[int, int], str]:
    """(request, iteration) → the text of the token given there; "" for END."""
    table = trace.requests
    words: defaultdict[tuple[int, int], str] = defaultdict(str)
    for request, pieces, given in zip(table.id.tolist(), table.pieces, table.token_iterations, strict=True):
        for piece, at in zip(pieces, given, strict=False):
            if first <= at < end:
                words[request, at] += piece
    return dict(words)


def _text(trace: Trace, first: int, states: np.ndarray, owners: np.ndarray, words: dict[tuple[int, int], str]) -> str:
    lines = [say("still title", policy=term(trace.meta.policy), first=first, last=first + states.shape[1] - 1)]
    for slot in range(len(states)):
        said: list[str] = []
        before = -1
        for column, who in enumerate(owners[slot].tolist()):
            if who >= 0 and who != before:
                said.append(say("still request", request=who))
            before = who
            said.append(_said(int(states[slot, column]), words.get((who, first + column))))
        lines.append(say("still slot", slot=slot, words=" ".join(said)))
    return "\n".join(lines)


def _said(state: int, piece: str | None) -> str:
    if state in (State.PREFILL, State.DECODE, State.RECOMPUTE):
        return as_utf8(piece).replace(" ", "␣").replace("\n", "⏎") or "END" if piece is not None else "…"
    return "×" if state == State.HELD else "–"


def _picture(
    trace: Trace, first: int, states: np.ndarray, owners: np.ndarray, words: dict[tuple[int, int], str]
) -> str:
    slots, columns = states.shape
    wide, high = columns * CELL, slots * ROW
    asked = dict(zip(trace.requests.id.tolist(), trace.requests.prompt, strict=True))
    parts, patterns = [_label(LEFT - 8, TOP - 8, term("iteration"), "end")], {}
    parts += [_label(LEFT + (c + 0.5) * CELL, TOP - 8, str(first + c), "middle") for c in range(columns)]
    for slot in range(slots):
        y = TOP + slot * ROW
        parts.append(_label(22, y + 18, _short(asked.get(int(owners[slot, 0]), ""), 35), "start"))
        parts.append(_label(LEFT - 8, y + 18, str(slot), "end", bold=True))
        for column, (state, who) in enumerate(zip(states[slot].tolist(), owners[slot].tolist(), strict=True)):
            x = LEFT + column * CELL
            if state == State.PREFILL:
                patterns[who] = colour_of(who)
            parts.append(_cell(x, y, state, who, words.get((who, first + column))))
    parts += _marks(states)
    captions = [say(name) for name in CAPTIONS[: 4 if (states == State.HELD).any() else 3]]
    bottom = TOP + high + 30
    for i, caption in enumerate(captions):
        x, y = (22, LEFT + 214)[i % 2], bottom + 24 * (i // 2)
        parts += [_dot(x + 8, y - 4, DOTS[i]), _label(x + 24, y, caption, "start")]
    width, height = LEFT + wide + 32, bottom + 24 * ((len(captions) + 1) // 2) - 8
    art = "".join(
        f'<pattern id="p{who}" width="9" height="9" patternUnits="userSpaceOnUse"><rect width="9" height="9" '
        f'fill="{colour}"/><path d="M-2 -2L11 11M-2 7L2 11M7 -2L11 2" stroke="{ink_on(colour)}" stroke-width="1.4"/>'
        "</pattern>"
        for who, colour in patterns.items()
    )
    held = (
        f'<pattern id="held" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" '
        f'fill="{thin(INK, 0.3)}"/><path d="M1.6 1.6L4.4 4.4M4.4 1.6L1.6 4.4" stroke="{INK}" stroke-width=".9"/>'
        "</pattern>"
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-size="12.5" font-family="system-ui, sans-serif"><defs>{art}{held}</defs>{"".join(parts)}</svg>'
    )
    return image(svg, say("still title", policy=term(trace.meta.policy), first=first, last=first + columns - 1))


def _cell(x: float, y: float, state: int, who: int, piece: str | None) -> str:
    """One slot in one iteration."""
    box = f'x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{ROW - 3}" rx="2"'
    if state == State.HELD:
        return f'<rect {box} fill="url(#held)"/>'
    if who < 0:
        return f'<rect {box} fill="none" stroke="{INK}" stroke-opacity="0.5"/>'
    colour = colour_of(who)
    fill = f"url(#p{who})" if state == State.PREFILL else thin(colour, 0.3) if state == State.STALLED else colour
    if piece is None:
        return f'<rect {box} fill="{fill}"/>'
    # The token in its slot; on stripes it keeps a ground of its own.
    word = _short(as_utf8(piece).strip().replace("\n", "⏎"), 11) if piece else "END"
    ink, size = text_on(colour), 11 if len(word) <= 7 else 10 if len(word) <= 8 else 8.5
    return (
        f'<rect {box} fill="{fill}"/><text x="{x + CELL / 2}" y="{y + 17.5}" text-anchor="middle" fill="{ink}" '
        f'font-size="{size}" font-weight="{600 if piece else 800}" paint-order="stroke" stroke="{colour}" '
        f'stroke-width="3.5" stroke-linejoin="round">{escape(word)}</text>'
    )


def _marks(states: np.ndarray) -> list[str]:
    """Numbers in the picture for what the captions explain, and a frame round one row and one column."""
    slots, columns = states.shape
    high, wide = slots * ROW, columns * CELL
    held = (states == State.HELD).any(axis=1)
    free = np.flatnonzero(~held).tolist() or [0]
    row, column = free[0], columns // 2
    frame = f'fill="none" stroke="{INK}" stroke-width="2.5" rx="4"'
    found = [
        f'<rect x="16" y="{TOP + row * ROW - 1}" width="{LEFT + wide - 14}" height="{ROW + 1}" {frame}/>',
        f'<rect x="{LEFT + column * CELL - 1}" y="{TOP - 24}" width="{CELL + 2}" height="{high + 25}" {frame}/>',
        _dot(8, TOP + row * ROW + ROW / 2, DOTS[0]),
        _dot(LEFT + (column + 0.5) * CELL, TOP - 31, DOTS[1]),
        _dot(LEFT + wide + 14, TOP + free[len(free) // 2] * ROW + ROW / 2, DOTS[2]),
    ]
    if held.any():
        found.append(_dot(LEFT + wide + 14, TOP + int(np.flatnonzero(held)[-1]) * ROW + ROW / 2, DOTS[3]))
    return found


def _dot(x: float, y: float, number: str) -> str:
    """A caption's number in a disc."""
    return (
        f'<circle cx="{x}" cy="{y}" r="8" fill="{INK}"/><text x="{x}" y="{y + 4}" text-anchor="middle" fill="#ffffff" '
        f'font-size="11" font-weight="700">{DOTS.index(number) + 1}</text>'
    )


def _label(x: float, y: float, words: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}"{weight}>{escape(as_utf8(words))}</text>'


def _short(words: Sequence[str] | str, most: int) -> str:
    text = "".join(sign if sign.isprintable() else " " for sign in words)
    return text if len(text) <= most else text[: most - 1] + "…"

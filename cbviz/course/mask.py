"""The mask of one pass: which cached tokens each new token may look at.

    course.mask({"A": (3, 3), "B": (1, 6)})    # A prefills 3 tokens, B decodes one with 6 known

The rows of a pass are packed into one, and only attention keeps them apart (Orca, OSDI'22, §3.2: selective batching).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from cbviz.checks import as_int, shown
from cbviz.course.show import COLOURS, Shown
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.view.colours import INK
from cbviz.view.svg import image

MASK_CELL = 14
MASK_GAP = 6
MASK_LEFT, MASK_TOP, MASK_LINE = 90, 60, 17
MASK_MOST = 60


def mask(requests: Mapping[str, tuple[int, int]]) -> Shown:
    """Draw the attention mask of a pass over several requests.

    Parameters
    ----------
    requests
        Name → (tokens in this pass, tokens known afterwards), in order of their rows. Both are at least 1, and at most
        60 in all.

    Returns
    -------
    Shown
        One row a new token, one column a known token; a filled cell is one that the row looks at.

    Raises
    ------
    CbvizError
        There is no request, or a number is out of range.

    Example
    -------
    >>> mask({"A": (2, 2), "B": (1, 3)})
    A ■□ □□□
    A ■■ □□□
    B □□ ■■■
    """
    rows = _checked(requests)
    lines: list[str] = []
    drawn: list[str] = []
    starts, right = [], float(MASK_LEFT)
    for _, _, known in rows:
        starts.append(right)
        right += known * MASK_CELL + MASK_GAP
    down = float(MASK_TOP)
    for at, (name, new, known) in enumerate(rows):
        colour = COLOURS[at % len(COLOURS)]
        label = escape(name)
        middle = starts[at] + known * MASK_CELL / 2
        drawn.append(f'<text x="{middle:g}" y="{MASK_TOP - 8}" text-anchor="middle" fill="{colour}">{label}</text>')
        drawn.append(
            f'<text x="{MASK_LEFT - 8}" y="{down + new * MASK_CELL / 2 + 4:g}" text-anchor="end" '
            f'fill="{colour}">{label}</text>'
        )
        for token in range(new):
            last = known - new + token
            y = down + token * MASK_CELL
            for other, (_, _, columns) in enumerate(rows):
                for k in range(columns):
                    sees = other == at and k <= last
                    x = starts[other] + k * MASK_CELL
                    look = f'fill="{colour}"' if sees else f'fill="none" stroke="{INK}" stroke-opacity="0.35"'
                    drawn.append(
                        f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{MASK_CELL - 2}" height="{MASK_CELL - 2}" {look}/>'
                    )
            blocks = (
                "".join("■" if other == at and k <= last else "□" for k in range(columns))
                for other, (_, _, columns) in enumerate(rows)
            )
            lines.append(f"{name} {' '.join(blocks)}")
        down += new * MASK_CELL + MASK_GAP
    captions = [say("mask columns"), say("mask rows")]
    # Chinese characters are as wide as the type is high, others about half of that.
    longest = max(sum(13 if ord(letter) > 0x2E7F else 7 for letter in caption) for caption in captions)
    width, height = max(right + 10, MASK_LEFT + longest), down + 6
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" font-size="13" '
        f'font-family="system-ui, sans-serif" fill="{INK}">'
        + "".join(
            f'<text x="{MASK_LEFT}" y="{MASK_LINE * (line + 1)}">{escape(caption)}</text>'
            for line, caption in enumerate(captions)
        )
    )
    text = "\n".join(lines)
    return Shown(image(f"{head}{''.join(drawn)}</svg>", text), text)


def _checked(requests: Any) -> list[tuple[str, int, int]]:
    if not isinstance(requests, Mapping) or not requests:
        raise CbvizError(f"mask needs a mapping of names to (new tokens, known tokens), not {shown(requests)}.")
    rows = []
    for name, pair in requests.items():
        numbers = [as_int(value) for value in pair] if isinstance(pair, tuple | list) else []
        new, known = numbers if len(numbers) == 2 else (None, None)
        if new is None or known is None or not 1 <= new <= known:
            raise CbvizError(
                f"{shown(name)} needs two whole numbers, tokens in this pass and tokens known after it, "
                f"not {shown(pair)}."
            )
        rows.append((str(name), new, known))
    if sum(known for _, _, known in rows) > MASK_MOST:
        raise CbvizError(f"at most {MASK_MOST} tokens can be drawn.")
    return rows

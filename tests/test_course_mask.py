"""The mask of a pass: a row sees its own request, and never ahead."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz import course
from cbviz.errors import CbvizError


def test_each_row_sees_its_own_past_and_itself() -> None:
    drawn = course.mask({"A": (2, 4), "B": (1, 1), "C": (3, 3)})
    rows = [line.split(" ") for line in repr(drawn).splitlines()]
    assert [row[0] for row in rows] == ["A", "A", "B", "C", "C", "C"]
    owner, last = [0, 0, 1, 2, 2, 2], [2, 3, 0, 0, 1, 2]
    for row, mine, seen in zip(rows, owner, last, strict=True):
        for other, cells in enumerate(row[1:]):
            expected = [other == mine and k <= seen for k in range(len(cells))]
            assert [cell == "■" for cell in cells] == expected


def test_names_are_text() -> None:
    assert "<script>" not in course.mask({"<script>": (1, 2)}).html


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ({}, "a mapping"),
        (3, "a mapping"),
        ({"A": 3}, "two whole numbers"),
        ({"A": (3,)}, "two whole numbers"),
        ({"A": (3, 2)}, "two whole numbers"),
        ({"A": (0, 2)}, "two whole numbers"),
        ({"A": (1.5, 2)}, "two whole numbers"),
        ({"A": (1, 61)}, "at most 60"),
    ],
)
def test_nonsense_gets_one_sentence(requests: Any, sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        course.mask(requests)

"""Whether the code that grades is still what was installed, after a notebook of a learner's has run in its kernel.

`keep` notes every function and class of cbviz, `changed` names those that are others now. It finds what a cell replaces
(`capstone.yardstick = …`, `VllmV1.plan = …`), not what is hidden from it on purpose: a grader reads the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from cbviz.course import capstone

_KEPT: dict[str, tuple[Any, ...]] = {}


def keep() -> None:
    """Note how all loaded code of cbviz is now."""
    _KEPT.clear()
    _KEPT.update(_found())


def changed() -> list[str]:
    """The names whose functions, classes or constants are not those that `keep` noted, in order of the alphabet."""
    now = dict(_found())
    return sorted(name for name, mark in _KEPT.items() if not _same(mark, now.get(name, ())))


def _found() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What is watched: its full name and what must stay the same object."""
    for room, module in list(sys.modules.items()):
        if module is None or room.partition(".")[0] != "cbviz":
            continue
        for name, value in list(vars(module).items()):
            of_ours = str(getattr(value, "__module__", None)).partition(".")[0] == "cbviz"
            if of_ours and callable(value):
                yield f"{room}.{name}", _mark(value)
            elif module is capstone and name.isupper():
                yield f"{room}.{name}", (value,)
            if of_ours and isinstance(value, type):
                for part, held in list(vars(value).items()):
                    if callable(held) or isinstance(held, (property, classmethod, staticmethod)):
                        yield f"{room}.{name}.{part}", _mark(held)


def _mark(value: Any) -> tuple[Any, ...]:
    """The object, and what a function does."""
    if not isinstance(value, FunctionType):
        return (value,)
    return value, value.__code__, value.__defaults__, *(value.__kwdefaults__ or {}).values()


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))

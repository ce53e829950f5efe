"""A read-only sequence of request views that is a value: compared, hashed, copied, pickled and shown by its content."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn, Self

from cbviz.policies.base import RequestView


class ReadOnlyViews(Sequence[RequestView]):
    """Equal to every sequence that lists the same views. Subclasses have slots, and set them past `__setattr__`."""

    __slots__ = ()

    @abstractmethod
    def settled(self) -> tuple[RequestView, ...]:
        """All views. From here on nothing that happens in the engine shows in them."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("views are read-only.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("views are read-only.")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReadOnlyViews | tuple | list):
            return self is other or (len(self) == len(other) and self.settled() == tuple(other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.settled())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[tuple[RequestView, ...]], tuple[tuple[RequestView, ...]]]:
        return tuple, (self.settled(),)

    def __repr__(self) -> str:
        return repr(list(self.settled()))

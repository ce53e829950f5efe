"""Every run of a policy starts from a fresh copy, so that no state leaks from one run into another.

A race warms up, repeats and takes turns; `why` runs a schedule a second time. A policy that counts, draws random
numbers or keeps a set of ids would carry its state along. So the engine never asks the caller's object: `copy.deepcopy`
copies it once when it is passed, and again for every run.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import ModuleType

from cbviz.checks import PASSING, kind_of
from cbviz.errors import PolicyError
from cbviz.policies.base import Policy
from cbviz.policies.identity import name_of
from cbviz.policies.values import said, shown

DEPTH = 5
"""How deep an attribute is searched for the part that cannot be copied."""


def fresh(policy: Policy) -> Policy:
    """Copy a policy with the state in its attributes.

    All copies share class attributes, global variables, closures, and the generators behind the modules `random` and
    `numpy.random`. Keep state in attributes of the object, and draw from a `random.Random(seed)` or
    `numpy.random.default_rng(seed)` that is one of them.

    Parameters
    ----------
    policy
        The policy; it stays unchanged.

    Returns
    -------
    Policy
        A deep copy.

    Raises
    ------
    PolicyError
        It cannot be copied, because it holds a lock, a generator, an open file or the like; the message names the
        attribute.
    """
    try:
        copied = copy.deepcopy(policy)
    except PASSING:
        raise
    except BaseException as error:
        raise PolicyError(
            f"policy {name_of(policy)!r} cannot be copied ({kind_of(error)}), and every run starts from a fresh "
            f"copy: {_cause(policy, error)}. Make such a thing within plan(), or define __deepcopy__."
        ) from error
    if type(copied) is not type(policy):
        raise PolicyError(
            f"policy {name_of(policy)!r} cannot be copied, and every run starts from a fresh copy: its copy is a "
            f"{kind_of(copied)}. Look for a __getattr__ that answers to every name, or a __deepcopy__ of its own."
        )
    return copied


def _cause(policy: Policy, error: BaseException) -> str:
    """The part that cannot be copied, as a path from `self`; or else how copying failed."""
    try:
        path, part = next(_guilty(policy, "self", DEPTH))
    except PASSING:
        raise
    except BaseException:  # every part copies, or a part cannot even be read
        return f"copying it raised {kind_of(error)} ({said(error)})"
    return f"{path} is of type {kind_of(part)}, which cannot be copied"


def _guilty(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    """The innermost parts of a value that cannot be copied: (path, part)."""
    for name, part in _parts(value):
        try:
            copy.deepcopy(part)
        except PASSING:
            raise
        except BaseException:
            inner = next(_guilty(part, path + name, depth - 1), None) if depth else None
            yield inner or (path + name, part)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """The parts of a value: (path in Python's syntax, part)."""
    if isinstance(value, dict):
        yield from ((f"[{shown(key)}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{n}]", part) for n, part in enumerate(value))
    elif not isinstance(value, ModuleType):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
        for kind in type(value).__mro__:
            names = kind.__dict__.get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)

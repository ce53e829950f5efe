"""Whether an object is a policy, and its name and summary as plain text."""

from __future__ import annotations

import inspect

from cbviz.checks import PASSING, kind_of
from cbviz.errors import PolicyError
from cbviz.messages import Message
from cbviz.policies.base import Policy
from cbviz.policies.values import said, shown

LONGEST_NAME = 100
LONGEST_SUMMARY = 500


def identity(policy: Policy) -> tuple[str, str]:
    """The policy's name and summary as plain text.

    Parameters
    ----------
    policy
        The policy; both attributes are read now.

    Returns
    -------
    tuple[str, str]
        Name and summary.

    Raises
    ------
    PolicyError
        Either is missing, raises, is not text, is too long, or has unprintable characters; or the name is empty.
    """
    name = _line(policy, "name", LONGEST_NAME)
    if not name.strip():
        raise PolicyError(f"the name of {kind_of(policy)} is empty; a policy needs a name.")
    return name, _line(policy, "summary", LONGEST_SUMMARY)


def name_of(policy: Policy) -> str:
    """The policy's name for a message; the name of its class if it has none."""
    try:
        return identity(policy)[0]
    except PolicyError:
        return kind_of(policy)


def check_policy(policy: object) -> None:
    """Raise PolicyError unless the object has a name, a summary and a method `plan` that can return a plan."""
    for attribute in ("name", "summary", "plan"):
        _read(policy, attribute)
    plan = _read(policy, "plan")
    if not callable(plan):
        raise PolicyError(f"{shown(policy)} is no policy; its plan must be a method plan(view), not {shown(plan)}.")
    for is_one, what in (
        (inspect.iscoroutinefunction, "is a coroutine (async def)"),
        (inspect.isasyncgenfunction, "is an asynchronous generator"),
        (inspect.isgeneratorfunction, "is a generator (it has a yield)"),
    ):
        if is_one(plan):
            raise PolicyError(f"plan of {kind_of(policy)} {what}; it must be a method that returns a Plan.")
    identity(policy)  # type: ignore[arg-type]


def _read(policy: object, attribute: str) -> object:
    try:
        return getattr(policy, attribute)
    except PASSING:
        raise
    except AttributeError as error:
        raise PolicyError(
            f"{shown(policy)} is no policy; a policy has a name, a summary and a method plan(view), and it has no "
            f"{attribute}."
        ) from error
    except BaseException as error:
        raise PolicyError(
            f"{kind_of(policy)} is no policy: reading its {attribute} raised {kind_of(error)}: {said(error)}."
        ) from error


def _line(policy: object, attribute: str, longest: int) -> str:
    given = _read(policy, attribute)
    if issubclass(type(given), str):
        plain = str.__str__(given)
        if len(plain) <= longest and plain.isprintable():
            return given if type(given) is Message else plain
    raise PolicyError(
        f"the {attribute} of {kind_of(policy)} is {shown(given)}; it must be text of at most {longest} printable "
        "characters on one line."
    )

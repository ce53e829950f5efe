"""The scheduler of the page's editor, in Pyodide: `cbviz.policies` as it is, asked once for every iteration.

Runs in the page's worker. The worker writes the view as JSON, the policy sees it as a `View`, the referee of
`cbviz.policies.check` judges the plan, and the plan returns as JSON; the worker's engine carries it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, overload

from cbviz.core.read_only import ReadOnlyViews
from cbviz.errors import PolicyError
from cbviz.messages import as_json
from cbviz.policies import Admit, Plan, Policy, RequestView, View, fresh, get
from cbviz.policies.check import ask
from cbviz.policies.identity import identity
from cbviz.policies.plan import CheckedPlan
from cbviz.policies.values import said
from cbviz.reason import Reason

FILE = "scheduler.py"
"""What Python calls the editor's text."""


class Views(ReadOnlyViews):
    """Views of some requests, in the form in which the engine shows them: a slice is a list of its own."""

    __slots__ = ("_views",)
    _views: tuple[RequestView, ...]

    def __init__(self, views: Iterable[RequestView]) -> None:
        object.__setattr__(self, "_views", tuple(views))

    def settled(self) -> tuple[RequestView, ...]:
        return self._views

    def __len__(self) -> int:
        return len(self._views)

    @overload
    def __getitem__(self, index: int) -> RequestView: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestView]: ...
    def __getitem__(self, index: int | slice) -> RequestView | list[RequestView]:
        return list(self._views[index]) if isinstance(index, slice) else self._views[index]


_policies: list[Policy] = []
"""The schedulers that were made: every lane has one of its own."""


def make(text: str) -> str:
    """Make the scheduler of a text: the last of its classes that has a method `plan`.

    Parameters
    ----------
    text
        Python. `Policy`, `Plan`, `Admit`, `RequestView`, `View` and `Reason` are there already.

    Returns
    -------
    str
        JSON: its `number` for `plan`, its `name` and `summary`; or a sentence under `refused`.
    """
    try:
        policy = fresh(get(_made(text)))
        name, summary = identity(policy)
    except PolicyError as error:
        return json.dumps({"refused": str(error)})
    _policies.append(policy)
    return json.dumps({"number": len(_policies) - 1, "name": name, "summary": as_json(summary)})


def _made(text: str) -> Policy:
    names: dict[str, Any] = {"__name__": "scheduler"}
    for given in (Admit, Plan, Policy, RequestView, View, Reason):
        names[given.__name__] = given
    known = set(map(id, names.values()))
    try:
        exec(compile(text, FILE, "exec"), names)  # the page's worker is the sandbox: it has no network
        classes = [value for value in names.values() if isinstance(value, type) and id(value) not in known]
        found = [kind for kind in classes if kind.__module__ == "scheduler" and callable(getattr(kind, "plan", None))]
        if found:
            policy: Policy = found[-1]()
            return policy
    except SyntaxError as error:
        raise PolicyError(f"the scheduler is no valid Python: {said(error)}") from error
    except BaseException as error:
        where = f" (line {line})" if (line := _line(error)) else ""
        raise PolicyError(
            f"the scheduler raised {type(error).__name__} before its first plan: {said(error)}{where}"
        ) from error
    raise PolicyError(
        "the scheduler has no class with a method plan; write class Mine(Policy) with a name, a summary and a method "
        "plan(self, view) that returns a Plan, such as Plan(admit=view.fitting())."
    )


def _line(error: BaseException) -> int | None:
    """The line of the text in which an error was raised."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


FIELDS = (
    *("id", "arrival", "prompt_tokens", "max_new_tokens", "generated"),
    *("computed", "slot", "admitted", "preemptions", "blocks"),
)
"""What the page's engine says of a request, in the order of `rowOf` (web/worker/python_policy.js)."""


def plan(number: int, given: str) -> str:
    """Ask the scheduler for the next iteration, and check its plan.

    Parameters
    ----------
    number
        Which one, as `make` said.
    given
        JSON: the fields of `View`; a request is a list of the values of `FIELDS`.

    Returns
    -------
    str
        JSON: the fields of the checked plan, or a sentence under `refused`.
    """
    fields = json.loads(given)
    for name in ("waiting", "running", "finished"):
        fields[name] = Views(map(_request, fields[name]))
    fields["now"], fields["clock"] = float(fields["now"]), float(fields["clock"])
    try:
        return json.dumps(_plain(ask(_policies[number], View(**fields))))
    except PolicyError as error:
        return json.dumps({"refused": str(error)})


def _request(row: Sequence[Any]) -> RequestView:
    values = dict(zip(FIELDS, row, strict=True))
    return RequestView(**values | {"arrival": float(values["arrival"])})


def _plain(plan: CheckedPlan) -> dict[str, Any]:
    """A checked plan as the worker's engine reads it: pairs, because the keys of JSON are text."""
    pairs = {name: list(getattr(plan, name).items()) for name in ("chunk",)}
    for name in ("preempt", "pause"):
        pairs[name] = [(request, _reason(why)) for request, why in getattr(plan, name).items()]
    return {
        "admit": [
            {"request": entry.request, "reserve": entry.reserve, "reason": _reason(entry.reason)}
            for entry in plan.admit
        ],
        "hold": "all" if plan.hold_all else sorted(plan.hold),
        **pairs,
        "wait_until": plan.wait_until,
    }


def _reason(why: str) -> Any:
    """A `Reason` as its code and facts, which the board says in its own language; anything else as text."""
    return as_json(why) if isinstance(why, Reason) else str(why)

"""The contract between a scheduler and the engine: what a policy sees, and what it may ask for.

Before every iteration the engine calls `policy.plan(view)`. The view is a value: it is read-only, stays as it was for
as long as it is kept, and does not reveal how long an output will be. The plan is a *difference*: which requests to
admit, hold, pause, chunk or preempt. Every running request that it does not mention continues: it takes in the rest of
its prompt, or decodes one token.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cbviz.policies.plan import Admit, Plan
from cbviz.policies.policy_view import RequestView, View, lacks_blocks


@runtime_checkable
class Policy(Protocol):
    """A scheduler: a name, a one-line summary, and the method `plan`.

    A policy may keep state in its own attributes. The object that a caller passes is never asked itself: every run (a
    warm-up, a repeat, a lane, a rerun by `why`, a playground that switches to it) starts from a deep copy of it as it
    was passed, and the copy that ran is `policy_object` of a race's lane. So a policy that draws from its own
    `random.Random(seed)` makes the same schedule in every repeat. Class attributes, global variables, closures, and the
    generators behind the modules `random` and `numpy.random` are not copied. A policy that cannot be copied, because it
    holds a lock, a generator or an open file, is refused.

    An `Engine` built by hand asks the object that it is given.

    Examples
    --------
    Shortest prompt first, run without a model:

    >>> import cbviz
    >>> class ShortestFirst:
    ...     name = "shortest_first"
    ...     summary = "admit the shortest prompts first"
    ...
    ...     def plan(self, view):
    ...         queue = sorted(view.waiting, key=lambda request: request.prompt_tokens)
    ...         return cbviz.Plan(admit=queue[: view.free_slots])
    >>> prompts = [[1] * 9, [1] * 3, [1] * 6]
    >>> requests = [cbviz.Request(id=i, prompt=p, max_new_tokens=2, output_length=2) for i, p in enumerate(prompts)]
    >>> trace = cbviz.schedule(ShortestFirst(), cbviz.Workload("three prompts", requests), slots=1)
    >>> trace.requests.admitted.tolist()
    [4, 0, 2]
    """

    @property
    def name(self) -> str:
        """1 to 100 printable characters on one line."""
        ...

    @property
    def summary(self) -> str:
        """What the policy does, in at most 500 printable characters on one line."""
        ...

    def plan(self, view: View) -> Plan:
        """Decide what the next iteration does. The engine calls it once before every iteration.

        Parameters
        ----------
        view
            What a policy may know now.

        Returns
        -------
        Plan
            What the iteration does differently from "every running request continues".

        Notes
        -----
        Any exception, `SystemExit` included, becomes a PolicyError; only KeyboardInterrupt interrupts the run.
        """
        ...


__all__ = ["Admit", "Plan", "Policy", "RequestView", "View", "lacks_blocks"]

"""The playground: lanes that run until they are stopped, with controls that act on the running engines."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.checks import finite, flag, listed, shown, whole
from cbviz.errors import CbvizError, PolicyError
from cbviz.limits import MOST_COUNT, MOST_REQUESTS, MOST_SEED, MOST_SLOTS
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import POLICIES, Policy, fresh, get, identity
from cbviz.run.live import in_notebook
from cbviz.run.play_run import Play as Play
from cbviz.view.cell import CELLS


def play(
    model: str | LoadedModel = "tiny",
    policy: str | Policy = "continuous",
    *,
    beside: str | Policy | None = "static",
    slots: int = 6,
    most_slots: int = 8,
    rate: float = 14,
    backlog: int | None = None,
    spread: float = 1.0,
    mean: float = 40.0,
    pace: float = 30,
    policies: Sequence[str | Policy] = tuple(POLICIES),
    iterations: int = 20_000,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    backend: str | None = None,
    ignore_generation_config: bool = False,
    live: bool | None = None,
    language: str | None = None,
    run: bool = True,
) -> Play:
    """Run live and change slots, arrivals, lengths and policies while the engines run.

    Two lanes serve the same arrivals: `beside` above `policy`. Each iteration of the playground is one of every lane
    that has a request to serve.

    Parameters
    ----------
    model
        As for `cbviz.race`.
    policy, policies
        The policy at the start, and those to choose from: names or policy objects. A policy that takes over starts as
        a fresh copy of the one passed in.
    beside
        The policy of the upper lane at the start; None for one lane alone.
    slots, most_slots
        Slots open at the start, and the most that can be opened. The engine has `most_slots`; closed slots count
        neither as free nor as wasted.
    rate
        Mean arrivals per 100 iterations, 0 to 100. Arrivals are Poisson.
    backlog
        Requests that wait at the start, at least 1; None means twice as many as slots, so that it opens under load.
    spread
        Standard deviation / mean of output lengths, 0 to 2; 0 makes them equal, 1 is the exponential law.
    mean
        Mean output length in tokens, 1 to 320. By Little's law, `rate` · `mean` / 100 slots are busy on average.
    pace
        Most iterations a second. The wait between two iterations counts on no clock.
    iterations
        The run ends after this many iterations unless it is stopped earlier.
    seed, device, dtype, backend, ignore_generation_config, live, language
        As for `cbviz.race`. The same seed and the same changes before the same iterations give the same schedule.
    run
        False returns the playground before its first iteration: call `run()`, or `start()` and `wait()`.

    Returns
    -------
    Play
        Running if live, else ended; not started if `run` is False.

    Raises
    ------
    CbvizError
        An argument is invalid: one sentence, before the first iteration.
    """
    offered = listed("policies", policies, "policies", error=PolicyError)
    named: dict[str, Policy] = {}
    for entry in (policy, *([] if beside is None else [beside]), *offered):
        found = fresh(get(entry))
        named.setdefault(identity(found)[0], found)
    above = None if beside is None else identity(get(beside))[0]
    slots, most_slots = whole("slots", slots, 1, MOST_SLOTS), whole("most_slots", most_slots, 1, MOST_SLOTS)
    backlog = 2 * slots if backlog is None else whole("backlog", backlog, 1, MOST_REQUESTS)
    iterations, seed = whole("iterations", iterations, 1, MOST_COUNT), whole("seed", seed, 0, MOST_SEED)
    tokens = finite(mean)
    if tokens is None or not 1 <= tokens <= 320:
        raise CbvizError(f"mean must be a number of tokens from 1 to 320, not {shown(mean)}.")
    live = in_notebook() if live is None else flag("live", live)
    flag("ignore_generation_config", ignore_generation_config)
    flag("run", run)
    if live:
        CELLS.begin()
    loaded = as_loaded(model, device=device, dtype=dtype)
    made = Play(
        loaded,
        list(named.values()),
        beside=above,
        backlog=backlog,
        slots=slots,
        most_slots=max(most_slots, slots),
        rate=rate,
        spread=spread,
        mean=tokens,
        pace=pace,
        iterations=iterations,
        seed=seed,
        language=language,
        backend=backend,
        ignore_generation_config=ignore_generation_config,
    )
    if live:
        made.watched()
        return made.start() if run else made
    return made.run() if run else made

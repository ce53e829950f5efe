"""A race as plain values: what `Race.to_json` returns and `cbviz race --json` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbviz.measure.lane_times import rounded
from cbviz.models.device import device_name

if TYPE_CHECKING:
    from cbviz.run.race_result import RaceResult


def race_json(race: RaceResult) -> dict[str, Any]:
    """The result as numbers, texts, lists and dicts.

    Parameters
    ----------
    race
        The race; its end is waited for.

    Returns
    -------
    dict
        Ready for `json.dumps`. "speedup" and "speedup_range" are None where time was not measured well enough to be
        compared, and "speedup_doubt" says why: "one_lane", "stopped", "too_short_to_time", "timed_once" or
        "timed_in_turns" (None where there is a speed-up). Seconds and rates are None for runs too short to time, and
        have two significant digits where each lane was timed once; `race.traces` holds every clock in full.
    """
    said = race.verdict
    spread = said.speedup

    def time(value: float) -> float | None:
        if not said.timed:
            return None
        return rounded(value) if race.repeats < 2 else value

    return {
        "model": race.model.name,
        "weights": race.model.weights,
        "device": device_name(race.model.device),
        "notes": list(race.notes),
        "logit_rules": race.rules.chosen(),
        "ignore_generation_config": race.ignore_generation_config,
        "reference": None if race.reference is None else race.reference.to_json(),
        "slots": race.slots,
        "requests": len(race.requests),
        "seed": race.workload.seed,
        "clock": race.clock,
        "lag": race.traces[0].meta.lag,
        "repeats": race.repeats,
        "lanes": [
            {
                "policy": lane.policy,
                "iterations": lane.iterations,
                "seconds": time(lane.seconds),
                "output_tokens": lane.output_tokens,
                "occupancy": lane.occupancy,
                "tokens_per_second": time(lane.tokens_per_second),
            }
            for lane in race.lanes
        ],
        "table": race.table().to_json(),
        "iteration_ratio": said.iteration_ratio,
        "speedup": None if spread is None else spread.median,
        "speedup_range": None if spread is None else [spread.low, spread.high],
        "speedup_doubt": said.doubt or None,
        "identical_outputs": race.identical_outputs,
        "divergences": [{"request": d.request, "position": d.position, "gap": d.gap} for d in race.divergences],
        "verdict": said.to_json(),
        **({"answers": race.answers.to_json()} if race.shows_answers else {}),
    }

"""A race as plain values: what `Race.to_json` returns and `cbviz race --json` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        Ready for `json.dumps`.
    """
    low, high = race.speedup_range
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
                "seconds": lane.seconds,
                "output_tokens": lane.output_tokens,
                "occupancy": lane.occupancy,
                "tokens_per_second": lane.tokens_per_second,
            }
            for lane in race.lanes
        ],
        "table": race.table().to_json(),
        "iteration_ratio": race.iteration_ratio,
        "speedup": race.speedup,
        "speedup_range": [low, high],
        "identical_outputs": race.identical_outputs,
        "divergences": [{"request": d.request, "position": d.position, "gap": d.gap} for d in race.divergences],
        "verdict": race.verdict.to_json(),
        **({"answers": race.answers.to_json()} if race.shows_answers else {}),
    }

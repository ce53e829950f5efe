"""How cbviz uses this machine's device, and whether a run as on an older GPU gives right answers.

`python benchmarks/devices.py` prints one JSON object: the detected capability, how long detection took, and two races
of static against continuous batching: as this device runs them, and as if it were a Tesla T4 (compute capability 7.5,
no Triton), eagerly in float16. In both, all answers must agree; differences carry the gap of the two best tokens.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from time import perf_counter
from typing import Any

import cbviz
from cbviz.models import capability
from cbviz.models.device import pick_device, pick_dtype
from cbviz.models.probes import Gpu, TorchProbes


class AsIfOlder(TorchProbes):
    """Real probes, except for the compute capability and Triton."""

    def gpu(self, index: int) -> Gpu:
        """A T4's name and compute capability, this GPU's memory."""
        return Gpu("Tesla T4 (played)", (7, 5), super().gpu(index).memory)

    def triton(self, index: int) -> str:
        """Why Triton does not work: it always fails here."""
        raise ModuleNotFoundError("triton")


def raced(model: str, requests: int) -> dict[str, Any]:
    """The device's capability, and a race on it."""
    device = pick_device(None)
    began = perf_counter()
    found = capability.capability(device)
    seconds = perf_counter() - began
    race = cbviz.race(model, requests=requests, live=False)
    facts = race.to_json()
    kept = ("device", "notes", "identical_outputs", "divergences", "iteration_ratio", "speedup")
    return {
        "capability": asdict(found),
        "seconds_to_ask": seconds,
        "no_graphs": found.no_graphs,
        "dtype": str(pick_dtype(None, device)),
        "race": {name: facts[name] for name in kept},
        "executor": type(race.executors[0]).__name__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--requests", type=int, default=24)
    options = parser.parse_args()
    result = {"as it is": raced(options.model, options.requests)}
    capability.probes = AsIfOlder
    capability.forget()
    result["as a T4"] = raced(options.model, options.requests)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

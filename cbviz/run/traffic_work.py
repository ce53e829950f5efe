"""Traffic as the simulator takes it, and traffic out of any file that has some."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from cbviz.measure.definitions import results_of
from cbviz.paths import path_of
from cbviz.simulator.work import Work
from cbviz.trace.files import SUFFIX, load
from cbviz.trace.recordings import named_runs
from cbviz.workload import Traffic, read_traffic


def work_of(traffic: Traffic) -> Work:
    """The same requests as columns of the simulator, which needs no prompts.

    Parameters
    ----------
    traffic
        Each request declares what it declared in the recording, or the longest output of all.

    Returns
    -------
    Work
        In order of arrival.
    """
    return Work(
        arrival=np.array(traffic.arrival),
        prompt_tokens=np.array(traffic.input_tokens),
        output_tokens=np.array(traffic.output_tokens),
        max_new_tokens=np.array(traffic.declared),
        client=traffic.client,
        priority=np.array(traffic.priority) if traffic.priority else None,
        name=traffic.name,
    )


def traffic_at(path: str | os.PathLike[str]) -> Traffic:
    """The traffic in a file: of a trace of cbviz, of a service's trace, or of a load generator's results.

    All lanes of a recorded run serve the same requests.

    Parameters
    ----------
    path
        A `.cbviz` file, what `cbviz.workload.read_traffic` reads, or the name of a recorded run.

    Returns
    -------
    Traffic
        In order of arrival.

    Raises
    ------
    CbvizError
        The file cannot be read, is malformed, or no request in it was served.
    """
    if lanes := named_runs(path):
        return replace(results_of(lanes[0]).traffic(), name=str(path))
    place = path_of(path, "the file of traffic")
    return results_of(load(place)).traffic() if place.suffix == SUFFIX else read_traffic(place)

"""Traffic as the simulator takes it, and traffic out of any file that has some."""

from __future__ import annotations

import os

import numpy as np

from cbviz.measure.definitions import results_of
from cbviz.paths import path_of
from cbviz.simulator.work import Work
from cbviz.trace.files import SUFFIX, load
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

    Parameters
    ----------
    path
        A `.cbviz` file, or what `cbviz.workload.read_traffic` reads.

    Returns
    -------
    Traffic
        In order of arrival.

    Raises
    ------
    CbvizError
        The file cannot be read, is malformed, or no request in it was served.
    """
    place = path_of(path, "the file of traffic")
    return results_of(load(place)).traffic() if place.suffix == SUFFIX else read_traffic(place)

"""Traffic as the simulator takes it."""

from __future__ import annotations

import numpy as np

from cbviz.simulator.work import Work
from cbviz.workload import Traffic


def work_of(traffic: Traffic) -> Work:
    """The same requests as columns of the simulator, which needs no prompts.

    Parameters
    ----------
    traffic
        Each request declares the longest output of all as its max_new_tokens.

    Returns
    -------
    Work
        In order of arrival.
    """
    return Work(
        arrival=np.array(traffic.arrival),
        prompt_tokens=np.array(traffic.input_tokens),
        output_tokens=np.array(traffic.output_tokens),
        name=traffic.name,
    )

"""A forecast from the events of a loop: times of requests are kept, events are not."""

from __future__ import annotations

import numpy as np

from cbviz.events import Iteration, State
from cbviz.simulator.cost import Extent
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.work import Work
from cbviz.workload import Request

USEFUL = np.array([state.useful for state in State])


class Tally:
    """Takes in one `Iteration` after the other.

    Parameters
    ----------
    work
        What is served.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._row = {request: row for row, request in enumerate(work.id.tolist())}
        n = len(work)
        self.admitted, self.first_token, self.finished = (np.full(n, np.nan) for _ in range(3))
        self.arrival = np.full(n, np.nan)
        self.preemptions = np.zeros(n, np.int64)
        self.iterations = self.useful = self.completed = 0
        self.seconds = 0.0
        self._young: dict[int, int] = {}
        """Request → its row, of those that are admitted and have no token."""

    def arrives(self, request: Request) -> None:
        """A request was submitted; in a closed loop it arrives when another has ended."""
        if self._work.arrival_unit == "seconds":
            self.arrival[self._row[request.id]] = request.arrival

    def add(self, event: Iteration) -> None:
        """Count an iteration."""
        row = self._row
        self.iterations += 1
        self.seconds = event.t_end
        self.useful += int(USEFUL[event.state].sum())
        if self._work.arrival_unit == "iterations":
            for request in event.arrived:
                self.arrival[row[request]] = event.t_start
        for mark in event.preempted:
            self.preemptions[row[mark.request]] += 1
        for mark in event.admitted:
            at = row[mark.request]
            if np.isnan(self.admitted[at]):
                self.admitted[at] = event.t_start
                self._young[mark.request] = at
        if self._young:
            answered = [r for r in event.request[event.token >= 0].tolist() if r in self._young]
            for request in answered:
                self.first_token[self._young.pop(request)] = event.t_end
        for end in event.finished:
            self.finished[row[end.request]] = event.t_end
        self.completed += len(event.finished)

    def forecast(self, policy: str, slots: int, cost: str, reached: Extent) -> Forecast:
        """What was counted so far."""
        work = self._work
        return Forecast(
            id=work.id,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
            preemptions=self.preemptions,
            arrival=self.arrival,
            admitted=self.admitted,
            first_token=self.first_token,
            finished=self.finished,
            policy=policy,
            slots=slots,
            cost=cost,
            iterations=self.iterations,
            seconds=self.seconds,
            useful_slot_iterations=self.useful,
            reached=reached,
            how="loop",
        )

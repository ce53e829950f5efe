"""The lanes of a playground: made once for the largest request, and begun anew as often as the viewer wants."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.config import EngineConfig
from cbviz.messages import Message
from cbviz.models import LoadedModel
from cbviz.policies import Policy, fresh
from cbviz.run.build import build_executor
from cbviz.run.capacity import afforded, kv_blocks_for
from cbviz.run.how import choose_backend
from cbviz.run.lane import Lane
from cbviz.run.request_stream import RequestStream
from cbviz.run.switchable_policy import SwitchablePolicy
from cbviz.workload import Workload

BLOCK = 16
WORKLOAD = Message("workload.playground")


class LaneMaker:
    """Makes the lanes of every run of a playground on the same executors.

    Parameters
    ----------
    loaded
        The model.
    count
        Number of lanes.
    most_slots
        The most slots that can ever be open.
    mean, seed
        As for `cbviz.play`: the same seed draws the same requests in every run.
    backend, ignore_generation_config
        As for `cbviz.play`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        count: int,
        most_slots: int,
        *,
        mean: float,
        seed: int,
        backend: str | None,
        ignore_generation_config: bool,
    ) -> None:
        self.model = loaded
        self._mean, self._seed = mean, seed
        largest = Workload(WORKLOAD, (self.stream().largest,))
        one = kv_blocks_for(largest, 1, BLOCK)
        wanted = kv_blocks_for(largest, most_slots, BLOCK)
        self.config = EngineConfig(
            most_slots,
            afforded(loaded, wanted, BLOCK, least=one, caches=count),
            BLOCK,
            backend=choose_backend(loaded, backend),
            ignore_generation_config=ignore_generation_config,
        )
        self._executors = [build_executor(loaded, self.config, largest) for _ in range(count)]

    def stream(self) -> RequestStream:
        """The requests of a run, from the first."""
        return RequestStream(self.model, self._mean, self._seed)

    def begin(self, policies: Sequence[Policy], slots: int, first: Workload) -> list[Lane]:
        """Lanes before their first iteration.

        Parameters
        ----------
        policies
            One for each lane, which starts from a fresh copy.
        slots
            Slots open at the start.
        first
            The requests that wait at the start.

        Returns
        -------
        list[Lane]
            Each with a `SwitchablePolicy`.
        """
        clock = "alone" if len(policies) == 1 else "lane"
        return [
            Lane(self.model, executor, SwitchablePolicy(fresh(policy), slots), first, config=self.config, clock=clock)
            for policy, executor in zip(policies, self._executors, strict=True)
        ]

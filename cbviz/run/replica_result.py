"""What several replicas did with a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from cbviz.measure.rounding import fixed
from cbviz.messages import Message
from cbviz.trace import Trace


class Moved(NamedTuple):
    """A request that was served again because its replica was lost: its id, and the numbers of both replicas."""

    request: int
    lost: int
    to: int


@dataclass(frozen=True, slots=True)
class Replicated:
    """The result of `replicate`.

    Attributes
    ----------
    traces
        One per replica, with its own clock; that of a lost one ends where it was last heard of.
    answers
        Request → output tokens.
    replica_of
        Request → the replica that served it to the end.
    routing
        The rule that chose.
    moved
        Requests that were served again.
    lost
        Replica → why it was lost.
    """

    traces: tuple[Trace, ...]
    answers: dict[int, tuple[int, ...]]
    replica_of: dict[int, int]
    routing: str
    moved: tuple[Moved, ...] = ()
    lost: dict[int, str] | None = None

    def __repr__(self) -> str:
        return f"<Replicated: {' '.join(self.sentences())}>"

    @property
    def seconds(self) -> float:
        """When the last replica was done, on its clock."""
        return max(trace.seconds for trace in self.traces)

    @property
    def requests(self) -> tuple[int, ...]:
        """How many requests each replica served to the end."""
        served = list(self.replica_of.values())
        return tuple(served.count(number) for number in range(len(self.traces)))

    @property
    def imbalance(self) -> float:
        """Busiest replica's share of the output tokens over an equal share: 1 is even."""
        tokens = [0] * len(self.traces)
        for request, answer in self.answers.items():
            tokens[self.replica_of[request]] += len(answer)
        return max(tokens) * len(tokens) / max(1, sum(tokens))

    def board(self, **options: Any) -> Any:
        """The first four replicas as lanes of a board.

        Parameters
        ----------
        options
            As for `cbviz.Board`.

        Returns
        -------
        cbviz.Board
            Needs a notebook, or `.to_html(path)`.
        """
        from cbviz.view import Board

        shown = [trace for trace in self.traces[:4] if len(trace.iterations)]
        return Board(*shown, **{"title": Message("replicas.title", routing=self.routing), **options})

    def sentences(self) -> list[str]:
        """What happened: how the requests were shared out, and what was lost.

        Returns
        -------
        list of str
            One for the run, and one for each replica that was lost.
        """
        said = [
            Message(
                "replicas.served",
                requests=len(self.answers),
                replicas=len(self.traces),
                routing=self.routing,
                each=", ".join(map(str, self.requests)),
                imbalance=fixed(self.imbalance, 2),
            )
        ]
        for number, why in (self.lost or {}).items():
            again = sum(one.lost == number for one in self.moved)
            said.append(Message("replicas.lost", number=number, why=why, n=again))
        return [str(one) for one in said]

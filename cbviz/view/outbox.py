"""What a live board still has to send, and all that it has sent: a page that comes late asks for everything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cbviz.checks import is_whole
from cbviz.events import Iteration
from cbviz.view.pack import LaneEncoder, Pieces, merge

MOST_UNCONFIRMED = 2
SECONDS_TO_CONFIRM = 1.0
"""Seconds after which an unconfirmed message counts as lost; the page will ask for what it lacks."""


class Outbox:
    """Iterations and prompts of one run on their way to the pages. Its owner's lock is held in every method.

    Parameters
    ----------
    slots
        Of each lane.
    """

    def __init__(self, slots: Sequence[int]) -> None:
        self._slots = tuple(slots)
        self.epoch = 0
        """Number of the run, from 0: it counts how often the run was begun anew."""
        self.watched = False
        """Whether any page has asked for the run."""
        self.seq = 0
        """Messages so far, of all runs."""
        self._unconfirmed: dict[int, float] = {}
        self.clear()

    def clear(self) -> None:
        """Drop everything: the next iteration of every lane is number 0."""
        self._encoders = [LaneEncoder(number, slots) for number, slots in enumerate(self._slots)]
        self._pending: list[list[tuple[Iteration, Pieces]]] = [[] for _ in self._slots]
        self._blocks: list[list[bytes]] = [[] for _ in self._slots]
        self._unsent: list[bytes] = []
        self._prompts: list[bytes] = []

    def begin_anew(self) -> None:
        """Drop the run so far. Messages carry `epoch`: no page adds to the new run what was still on its way."""
        self.epoch += 1
        self.clear()

    def add_prompts(self, block: bytes) -> None:
        """Add prompts that every page needs."""
        self._prompts.append(block)
        self._unsent.append(block)

    def add(self, lane: int, iteration: Iteration, pieces: Pieces) -> None:
        """Add the next iteration of a lane."""
        self._pending[lane].append((iteration, pieces))

    @property
    def counts(self) -> list[int]:
        """Iterations of each lane that are encoded."""
        return [encoder.count for encoder in self._encoders]

    @property
    def pending(self) -> bool:
        """Whether iterations wait to be encoded."""
        return any(self._pending)

    @property
    def something(self) -> bool:
        """Whether there is anything to do."""
        return self.pending or (self.watched and bool(self._unsent))

    def encode(self) -> None:
        """Encode the collected iterations as blocks."""
        for lane, batch in enumerate(self._pending):
            if batch:
                self._pending[lane] = []
                block = self._encoders[lane].encode(batch)
                self._blocks[lane].append(block)
                if self.watched:
                    self._unsent.append(block)

    def next_frame(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """The next message and its buffers, or None if there is nothing to send or the page is behind."""
        now = time.monotonic()
        self._unconfirmed = {seq: at for seq, at in self._unconfirmed.items() if now - at < SECONDS_TO_CONFIRM}
        if not self.watched or not self._unsent or len(self._unconfirmed) >= MOST_UNCONFIRMED:
            return None
        buffers, self._unsent = self._unsent, []
        self.seq += 1
        self._unconfirmed[self.seq] = now
        return {"type": "frame", "seq": self.seq, "epoch": self.epoch, "have": self.counts}, buffers

    def confirm(self, seq: Any) -> None:
        """A page has received every message up to `seq`; anything but a number confirms them all."""
        self._unconfirmed = {n: at for n, at in self._unconfirmed.items() if not is_whole(seq) or n > seq}

    def catch_up(self, have: Any, epoch: Any) -> None:
        """Send everything after the data that a page already has of this run; it may say anything."""
        numbers = have if isinstance(have, list) and len(have) == len(self._slots) and epoch == self.epoch else []
        known = [n if is_whole(n) and n >= 0 else 0 for n in numbers] or [0] * len(self._slots)
        self.encode()
        self.watched = True
        self._unconfirmed.clear()
        for lane, blocks in enumerate(self._blocks):
            if len(blocks) > 1:
                self._blocks[lane] = [merge(blocks)]
        self._unsent = list(self._prompts)
        for n, count, blocks in zip(known, self.counts, self._blocks, strict=True):
            if n < count:
                self._unsent += blocks

    def whole(self) -> bytes:
        """The whole run in as few blocks as possible; nothing is left to send."""
        self.encode()
        for lane, blocks in enumerate(self._blocks):
            self._blocks[lane] = [merge(blocks)] if blocks else []
        self._unsent.clear()
        return b"".join(self._prompts) + b"".join(b"".join(blocks) for blocks in self._blocks)

"""An executor without a model whose answers depend on everything that the KV cache must hold, block by block.

It keeps one number a position, where the tables say, and draws the next token from all numbers that the request's
table points at. So a block that is shared wrongly, overwritten while a request reads it, copied to the wrong place, or
read before it was written changes an answer; and what a request must answer is known without any cache.
"""

from __future__ import annotations

import numpy as np

from cbviz.core import NullExecutor, Result, Step
from cbviz.core.block_pool import BlockPool
from cbviz.workload.request import Request

PRIME = 1_000_003
ENDS = tuple(range(3, 1000, 9))
"""One token in nine ends an output that is not forced."""


def mixed(before: int, token: int, position: int) -> int:
    """What a position holds: it depends on the token, where it stands, and what stands before it."""
    return (before * 31 + token * 7 + position * 13 + 1) % PRIME


def drawn(held: list[int]) -> int:
    """The next token, drawn from all positions."""
    return sum(value * (position + 1) for position, value in enumerate(held)) % 997 + 3


def answer(request: Request) -> list[int]:
    """What the request is answered alone, with no cache to go wrong."""
    held: list[int] = []
    output: list[int] = []
    for token in request.prompt:
        held.append(mixed(held[-1] if held else 0, token, len(held)))
    while True:
        output.append(drawn(held))
        ended = output[-1] in ENDS and request.output_length is None
        if ended or len(output) == (request.output_length or request.max_new_tokens):
            return output
        held.append(mixed(held[-1], output[-1], len(held)))


class OracleExecutor(NullExecutor):
    """See the module's first lines. `fails_at` "launch" or "collect" makes it fail once there.

    An iteration that fails when it is collected has written garbage wherever it wrote.
    """

    def __init__(self, slots: int, pool: BlockPool, context_limit: int = 64) -> None:
        super().__init__(context_limit, seconds=1.0, end_tokens=ENDS)
        self.size = pool.block_size
        self.cache = np.full(pool.blocks * pool.block_size, -1, np.int64)
        self.host = np.zeros((0, pool.block_size), np.int64)
        self.tokens = np.full((slots, context_limit + 2), -1, np.int64)
        self.fails_at = ""
        self.copied_out = self.copied_back = self.fed = 0

    def provide_swap(self, blocks: int) -> int:
        self.host = np.full((blocks, self.size), -1, np.int64)
        return 8 * self.size

    def launch(self, step: Step) -> Result:
        self._fail_at("launch")
        blocks = self.cache.reshape(-1, self.size)
        for block, target in step.swap_out:
            self.host[target] = blocks[block]
        for source, block in step.swap_in:
            blocks[block] = self.host[source]
        self.copied_out += len(step.swap_out)
        self.copied_back += len(step.swap_in)
        for seat in step.seats:
            self.tokens[seat.slot, : len(seat.tokens)] = seat.tokens
        given = np.full(len(step.slot), -1, np.int32)
        # All rows write, then all rows read, as in a layer of a real model; and each in its own turn.
        for slot, start, count in zip(step.slot, step.start, step.count, strict=True):
            where = self._where(step, slot, start + count)
            assert len(set(where)) == len(where), "a table names a position twice"
            for position in range(start, start + count):
                before = int(self.cache[where[position - 1]]) if position else 0
                self.cache[where[position]] = mixed(before, int(self.tokens[slot, position]), position)
        self.fed += int(step.count.sum())
        for row, (slot, end) in enumerate(zip(step.slot, step.start + step.count, strict=True)):
            held = self.cache[self._where(step, slot, end)].tolist()
            if step.draw[row] >= 0:
                given[row] = drawn(held)
                self.tokens[slot, end] = given[row]
        return Result(given, 1.0)

    def collect(self, ticket: Result) -> Result:
        if self.fails_at == "collect":
            self.cache[:] = -99
        self._fail_at("collect")
        return super().collect(ticket)

    def _where(self, step: Step, slot: int, positions: int) -> list[int]:
        """The places of a request's first positions."""
        table = step.tables[slot]
        assert (table[: -(-positions // self.size)] >= 0).all(), "a position without a block"
        return [int(table[p // self.size]) * self.size + p % self.size for p in range(positions)]

    def _fail_at(self, place: str) -> None:
        if self.fails_at == place:
            self.fails_at = ""
            raise RuntimeError("CUDA out of memory")

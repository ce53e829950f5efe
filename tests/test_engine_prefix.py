"""Prefix reuse, worked out by hand: what is found, what is computed all the same, what is forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import EngineError
from cbviz.events import Iteration
from cbviz.policies import Admit, Continuous, OneAtATime, Plan, Policy, View, VllmV0, VllmV1
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer
from tests.pictures import picture, reasons, tokens


def ask(id: int, prompt: str, output: int, arrival: float = 0) -> Request:
    """A request whose prompt has a token a letter."""
    return Request(id, tuple(map(ord, prompt)), output, arrival=arrival, output_length=output)


def run(
    policy: Policy, slots: int, work: list[Request], *, blocks: int = 20, size: int = 2, lag: int = 0
) -> list[Iteration]:
    """Serve the work with a prefix cache; every answer must be what it is without any cache."""
    pool = BlockPool(blocks, size, prefix_cache=True)
    engine = Engine(OracleExecutor(slots, pool), policy, slots=slots, pool=pool, lag=lag, arrival_unit="iterations")
    steps = list(engine.run(work))
    assert {r.id: engine.output(r.id) for r in work} == {r.id: answer(r) for r in work}
    assert pool.free == pool.blocks
    return steps


def found(steps: list[Iteration]) -> dict[int, list[tuple[int, int]]]:
    """Request → (tokens found, tokens asked for) at each of its admissions."""
    lookups: dict[int, list[tuple[int, int]]] = {}
    for it in steps:
        for entry in it.reused:
            lookups.setdefault(entry.request, []).append((entry.found, entry.asked))
    return lookups


def test_whole_blocks_are_found_and_the_rest_is_computed() -> None:
    """Blocks of 2. 2 comes when 1 has taken in "abcd|e": it shares "ab" and "cd" and computes "xy" alone."""
    steps = run(Continuous(), 2, [ask(1, "abcde", 3), ask(2, "abcdxy", 2, arrival=1)])
    assert picture(steps) == ["111", ".22"]
    assert tokens(steps) == [[5, 1, 1], [0, 2, 1]]
    assert found(steps) == {1: [(0, 5)], 2: [(4, 6)]}
    assert reasons(steps)[1] == (1, "admitted", 2, "4 of its 6 tokens were cached")
    # Both reserve prompt + max_new_tokens, 4 blocks, of which they share 2. At 1 they have written 6 positions each, 4
    # of them the same: 8 in the 3 blocks of 1 and the one with "xy".
    assert [(it.blocks_used, it.blocks_reserved, it.written) for it in steps] == [(3, 1, 5), (4, 2, 8), (6, 0, 10)]


def test_the_last_token_is_always_computed() -> None:
    """All of "abcd" is cached when 2 asks for it; without a pass over its last token there were nothing to draw from,
    and blocks are whole, so it computes "cd" again."""
    steps = run(OneAtATime(), 1, [ask(1, "abcd", 2), ask(2, "abcd", 2)])
    assert picture(steps) == ["1122"]
    assert tokens(steps) == [[4, 1, 2, 1]]
    assert found(steps) == {1: [(0, 4)], 2: [(2, 4)]}


def test_a_block_is_found_from_the_iteration_after_the_one_that_filled_it() -> None:
    """Both begin together: neither finds the other. 3 comes one iteration later and finds what they wrote."""
    steps = run(Continuous(), 3, [ask(1, "abcde", 2), ask(2, "abcde", 2), ask(3, "abcde", 1, arrival=1)])
    assert tokens(steps) == [[5, 1], [5, 1], [0, 1]]
    assert found(steps) == {1: [(0, 5)], 2: [(0, 5)], 3: [(4, 5)]}


def test_what_a_request_was_answered_is_found_too() -> None:
    """The next turn of a conversation: 2's prompt is 1's prompt, 1's answer, and a question more."""
    first = ask(1, "abc", 4)
    second = Request(2, (*first.prompt, *answer(first), 5, 6), 1, arrival=9)
    steps = run(Continuous(), 1, [first, second])
    assert found(steps)[2] == [(6, 9)], "3 + 3: the answer's last token was never fed, so its keys were never written"


def test_least_recently_used_blocks_go_first_and_a_chain_from_its_end() -> None:
    """6 blocks. 1 leaves "ab" and "cd" behind and one block that is not full, 2 leaves "pq" and such a block.

    3 needs 5 of the 6: the one that was never used, then 1's, which were let go first, the last one first, then the end
    of 2's. What is left is 2's "pq", so 4 finds it; of 1's nothing is left for 5, which takes two full ones of 3's.
    """
    work = [ask(1, "abcde", 1), ask(2, "pqr", 1), ask(3, "123456789", 1), ask(4, "pqz", 1), ask(5, "abz", 1)]
    steps = run(OneAtATime(), 1, work, blocks=6)
    assert found(steps) == {1: [(0, 5)], 2: [(0, 3)], 3: [(0, 9)], 4: [(2, 3)], 5: [(0, 3)]}
    assert [it.evicted for it in steps] == [0, 0, 2, 0, 2]


def test_what_was_preempted_may_still_be_there() -> None:
    """5 blocks. 2 is thrown out when 1 takes the last one, and comes back with 5 tokens when 1 has ended: "pqr" and two
    that it was given. "pq" is still there; its second block was taken. So it computes 3 tokens instead of 5.
    """
    work = [ask(1, "abc", 5), ask(2, "pqr", 3)]
    steps = run(VllmV0(), 2, work, blocks=5)
    plain = list(Engine(NullExecutor(), VllmV0(), slots=2, pool=BlockPool(5, 2), arrival_unit="iterations").run(work))
    assert picture(steps) == picture(plain) == ["11111r", "22...."]
    assert tokens(plain)[0] == [3, 1, 1, 1, 1, 5]
    assert tokens(steps)[0] == [3, 1, 1, 1, 1, 3]
    assert found(steps)[2] == [(0, 3), (2, 5)]


def test_a_chunk_begins_behind_the_cached_tokens() -> None:
    """Four tokens an iteration: 2 lacks 5 of its 9, so it takes two iterations instead of three."""
    steps = run(VllmV1(4), 1, [ask(1, "abcde", 1), ask(2, "abcdvwxyz", 1)])
    assert tokens(steps) == [[4, 1, 4, 1]]
    assert [int(it.context[0]) for it in steps] == [4, 5, 8, 9]


@pytest.mark.parametrize("lag", [0, 1])
def test_shared_blocks_let_more_in(lag: int) -> None:
    """7 blocks, and three requests of 4 each: one at a time, or, sharing "abcdef", side by side in 3 + 3."""
    work = [ask(1, "abcdefg", 3, 0), ask(2, "abcdefh", 1, 1), ask(3, "abcdefi", 1, 1)]
    steps = run(VllmV1(), 3, work, blocks=7, lag=lag)
    assert picture(steps) == ["111", ".2.", ".3."]
    assert [it.blocks_used for it in steps] == [4, 6, 5]
    plain = Engine(NullExecutor(), VllmV1(), slots=3, pool=BlockPool(7, 2), lag=lag, arrival_unit="iterations")
    assert picture(list(plain.run(work))) == ["11123", ".....", "....."]


def test_a_failure_leaves_nothing_to_be_found() -> None:
    pool = BlockPool(20, 2, prefix_cache=True)
    executor = OracleExecutor(2, pool)
    engine = Engine(executor, Continuous(), slots=2, pool=pool, arrival_unit="iterations")
    work = [ask(1, "abcdef", 4), ask(2, "abcdef", 4, arrival=3)]
    engine.submit(*work)
    engine.step()
    executor.fails_at = "collect"
    with pytest.raises(EngineError):
        engine.step()
    steps = list(engine.run())
    assert found(steps)[1] == [(0, 7)], "what it had written is not trusted"
    assert {r.id: engine.output(r.id) for r in work} == {r.id: answer(r) for r in work}


@dataclass
class HoldsInItsLastBlock:
    """Keeps request 1 in its slot after its end, in blocks that it has filled to the brim."""

    name: str = "holds"
    summary: str = ""

    def plan(self, view: View) -> Plan:
        hold = [r.id for r in view.finished if r.id == 1 and view.waiting]
        late = [r for r in view.waiting if r.id == 1 or view.iteration > 1]
        free = view.free_slots - len(hold)
        return Plan(admit=[Admit(r.id, reserve=r.known) for r in late[:free]], hold=hold)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_held_row_never_writes_where_others_read(lag: int) -> None:
    """1 ends with its two blocks full and is held; 2 shares them. Were 1 computed in place, 2 would read rubbish."""
    first = ask(1, "abc", 2)
    steps = run(HoldsInItsLastBlock(), 3, [first, Request(2, (*first.prompt, answer(first)[0], 7), 1)], lag=lag)
    assert picture(steps) == ["11h", "..2", "..."]
    if not lag:
        assert found(steps)[2] == [(4, 5)]
        assert tokens(steps)[0] == [3, 1, 0], "held, and not computed"

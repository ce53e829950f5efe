"""The block pool: who uses which block, in which order free ones are taken, and what the prefix cache finds."""

from __future__ import annotations

import pytest

from cbviz.core.block_pool import BlockPool
from cbviz.core.prefix_cache import ROOT, PrefixIndex, chained
from cbviz.errors import CapacityError


def chain(*blocks: tuple[int, ...]) -> list[bytes]:
    links: list[bytes] = []
    for tokens in blocks:
        links.append(chained(links[-1] if links else ROOT, tokens))
    return links


def test_equal_tokens_behind_different_beginnings_are_different_blocks() -> None:
    one, other = chain((1, 2), (5, 6)), chain((3, 4), (5, 6))
    assert one == chain((1, 2), (5, 6))
    assert one[1] != other[1]
    assert len({*one, *other, *chain((5, 6)), *chain((5,), (6,))}) == 7


def test_the_longest_known_beginning_is_found() -> None:
    index = PrefixIndex()
    links = chain((1, 2), (3, 4), (5, 6))
    for block, link in zip((7, 3, 9), links, strict=True):
        index.add(block, link)
    assert index.find(links) == [7, 3, 9]
    assert index.find(chain((1, 2), (3, 4), (0, 0))) == [7, 3]
    index.evict(3)
    assert index.find(links) == [7], "9 is still known, but nothing leads to it"
    assert index.evictions == 1
    index.evict(3)
    assert index.evictions == 1, "it held nothing that anybody could find"


def test_of_two_blocks_with_equal_content_the_first_is_kept() -> None:
    index = PrefixIndex()
    (link,) = chain((1, 2))
    index.add(4, link)
    index.add(5, link)
    assert index.find([link]) == [4]
    index.evict(5)
    assert index.find([link]) == [4]


def test_free_blocks_are_taken_in_the_order_in_which_they_were_let_go_and_of_one_request_the_last_first() -> None:
    pool = BlockPool(6, 2)
    assert pool.grow(1, 6) == [0, 1, 2]
    assert pool.grow(2, 4) == [3, 4]
    pool.release(2)
    pool.release(1)
    assert pool.grow(3, 12) == [5, 4, 3, 2, 1, 0]


def test_a_shared_block_is_free_when_its_last_user_has_left() -> None:
    pool = BlockPool(5, 2, prefix_cache=True)
    stem = pool.grow(1, 4)
    pool.share(2, stem)
    pool.grow(2, 6)
    assert pool.owned(2)[:2] == tuple(stem)
    assert [pool.users(block) for block in range(5)] == [2, 2, 1, 0, 0]
    assert (pool.free, pool.taken) == (2, 3)
    assert pool.freed_by([1]) == set()
    assert pool.freed_by([2]) == {2}
    assert pool.freed_by([1, 2]) == {0, 1, 2}
    assert [pool.frees(owners) for owners in ([1], [2], [1, 2], [])] == [0, 1, 3, 0]
    pool.release(1)
    assert pool.free == 2
    pool.release(2)
    assert pool.free == 5


def test_a_free_block_can_be_found_until_it_is_taken() -> None:
    pool = BlockPool(3, 2, prefix_cache=True)
    assert pool.prefix is not None
    links = chain((1, 2), (3, 4))
    for block, link in zip(pool.grow(1, 4), links, strict=True):
        pool.prefix.add(block, link)
    pool.release(1)
    assert pool.free == 3
    pool.share(2, pool.prefix.find(links))
    assert (pool.free, pool.owned(2)) == (1, (0, 1))
    pool.release(2)
    pool.grow(3, 4)  # block 2, which was never used, then the chain's end
    assert pool.prefix.find(links) == [0]
    assert pool.prefix.evictions == 1


def test_pools_that_make_no_sense() -> None:
    with pytest.raises(CapacityError, match="prefix_cache must be True or False, not 1"):
        BlockPool(4, 4, prefix_cache=1)  # type: ignore[arg-type]
    pool = BlockPool(2, 4)
    with pytest.raises(CapacityError, match="request 1 needs 3 more KV blocks of 4 positions, but only 2 of 2 are"):
        pool.grow(1, 9)
    assert pool.free == 2


def test_what_would_be_freed_is_counted_without_a_prefix_cache_too() -> None:
    pool = BlockPool(9, 4)
    pool.grow(1, 9)
    pool.grow(2, 4)
    for owners in ([1], [2], [1, 2], [3], []):
        assert pool.frees(owners) == len(pool.freed_by(owners))

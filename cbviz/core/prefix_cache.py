"""The prefix cache: which KV block holds which tokens, so that the same beginning is never computed twice.

vLLM V1's rules (`v1/core/kv_cache_utils.py`, `block_pool.py`): only whole blocks are shared. A block is known by a hash
of its tokens *and* of the block before it, for keys and values depend on everything to their left; so two blocks of
equal tokens behind different beginnings never match. A block without a user keeps its hash until it is taken for
something else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

ROOT = b""
"""What the first block of a request has before it."""


def chained(parent: bytes, tokens: Iterable[int]) -> bytes:
    """The 16-byte hash of a block of `tokens` behind the block whose hash is `parent`."""
    return blake2b(array("q", tokens).tobytes(), key=parent, digest_size=16).digest()


class PrefixIndex:
    """Finds blocks by what they hold.

    Attributes
    ----------
    evictions
        Blocks that were forgotten because another request needed the room.
    """

    def __init__(self) -> None:
        self.evictions = 0
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}

    def __len__(self) -> int:
        """Blocks that can be found."""
        return len(self._block_of)

    def __contains__(self, block: int) -> bool:
        return block in self._hash_of

    def find(self, chain: Sequence[bytes]) -> list[int]:
        """The blocks that hold the longest known beginning of a chain of hashes."""
        found: list[int] = []
        for link in chain:
            if link not in self._block_of:
                break
            found.append(self._block_of[link])
        return found

    def add(self, block: int, link: bytes) -> None:
        """A block is full, and from now on found by its hash. Of two blocks with equal content the first is kept."""
        if link not in self._block_of:
            self._block_of[link] = block
            self._hash_of[block] = link

    def evict(self, block: int) -> None:
        """The block is about to hold something else."""
        link = self._hash_of.pop(block, None)
        if link is not None:
            del self._block_of[link]
            self.evictions += 1

    def clear(self) -> None:
        """Forget everything: what the blocks hold is unknown."""
        self._block_of.clear()
        self._hash_of.clear()

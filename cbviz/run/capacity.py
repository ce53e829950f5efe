"""How large a KV cache fits on a device, decided before anything is allocated."""

from __future__ import annotations

import torch

from cbviz.checks import counted, whole
from cbviz.errors import CapacityError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_BLOCKS, MOST_EXACT, MOST_SLOTS
from cbviz.models import LoadedModel
from cbviz.models.capability import capability
from cbviz.models.device import free_bytes
from cbviz.simulator.work import Work
from cbviz.workload import Workload

RESERVED_SHARE = 0.1
LEAST_RESERVE = {"cuda": 2 * 2**30, "cpu": 2**28}
"""Least number of bytes left free for activations and graphs; normally a tenth of a GPU's memory, or of a CPU's free
memory."""


def kv_blocks_for(workload: Workload | Work, slots: int, block_size: int) -> int:
    """Blocks with which every slot can hold the workload's longest request (prompt + max_new_tokens).

    Raises CapacityError if `slots` or `block_size` is no whole number from 1 to what `cbviz.limits` allows, or if the
    longest request is too long for so many slots.
    """
    whole("slots", slots, 1, MOST_SLOTS, error=CapacityError)
    whole("block_size", block_size, 1, MOST_BLOCK_SIZE, error=CapacityError)
    blocks = slots * -(-workload.longest // block_size)
    if blocks > MOST_BLOCKS:
        request, prompt, output = _longest(workload)
        raise CapacityError(
            f"request {request} is too long: its prompt of {prompt:,} tokens and its output of at most {output:,} make "
            f"{prompt + output:,} positions, and {counted(slots, 'slot')} of that length would need more KV memory "
            f"than the {MOST_BLOCKS * block_size:,} positions there can be; take fewer slots, or leave the request out."
        )
    return blocks


def _longest(workload: Workload | Work) -> tuple[int, int, int]:
    """Id, prompt and longest output of the longest request."""
    if isinstance(workload, Workload):
        longest = max(workload, key=lambda request: request.positions)
        return longest.id, len(longest.prompt), longest.max_new_tokens
    row = int((workload.prompt_tokens + workload.max_new_tokens).argmax())
    return int(workload.id[row]), int(workload.prompt_tokens[row]), int(workload.max_new_tokens[row])


def choose_kv_blocks(
    loaded: LoadedModel, workload: Workload, *, slots: int, block_size: int, kv_blocks: int | None = None
) -> int:
    """KV blocks for a run: the number requested, or as many as the workload can use and the device can hold.

    The workload can use enough for every slot to hold its longest request, counting at most one slot per request.

    Raises
    ------
    CapacityError
        The longest request exceeds the model's context, or the blocks requested (or needed by one request) exceed the
        device's free memory less the reserve. The message shows the arithmetic.
    """
    longest = max(workload, key=lambda request: request.positions)
    positions = longest.positions
    if positions > loaded.context_limit:
        raise CapacityError(
            f"request {longest.id} needs {positions:,} positions (a prompt of {len(longest.prompt):,} + max_new_tokens "
            f"{longest.max_new_tokens:,}), but {loaded.name} has a context of {loaded.context_limit:,}."
        )
    kv_blocks_for(workload, slots, block_size)  # raises for a bad number of slots or block size
    usable = kv_blocks_for(workload, min(slots, len(workload)), block_size)
    return afforded(loaded, usable, block_size, asked=kv_blocks, least=-(-positions // block_size))


def afforded(
    loaded: LoadedModel, usable: int, block_size: int, *, asked: int | None = None, least: int = 1, caches: int = 1
) -> int:
    """KV blocks for each of several caches: the number requested, or as many as are useful and fit on the device.

    Parameters
    ----------
    loaded
        The model: its device and the KV bytes of a token.
    usable
        Blocks beyond this number would never be used.
    block_size
        Positions in a block.
    asked
        The number requested; None for as many as fit.
    least
        The smallest number that can serve anything.
    caches
        Caches held at the same time, such as those of lanes that take turns.

    Returns
    -------
    int
        Blocks in each cache.

    Raises
    ------
    CapacityError
        The blocks requested, or the fewest that are useful, exceed the device's free memory less the reserve. The
        message shows the arithmetic.
    """
    if asked is not None:
        whole("kv_blocks", asked, 1, MOST_EXACT, error=CapacityError)
    room = affordable_blocks(loaded, block_size)
    most, wanted = usable if room is None else room // caches, asked or least
    if room is not None and wanted > most:
        gib, free = caches * wanted * block_size * loaded.kv_bytes_per_token / 2**30, free_now(loaded.device) or 0
        each = f"{caches} KV caches of {wanted:,} blocks each" if caches > 1 else f"a KV cache of {wanted:,} blocks"
        raise CapacityError(
            f"{each} × {block_size} positions × {loaded.kv_bytes_per_token:,} bytes = {gib:.1f} GiB "
            f"{'do' if caches > 1 else 'does'} not fit: {free / 2**30:.1f} GiB are free on {loaded.device}, and "
            f"{reserve(loaded.device) / 2**30:.1f} GiB of them are reserved for activations and CUDA graphs; "
            f"{most:,} blocks{' each' * (caches > 1)} fit."
        )
    if asked is None:
        return min(usable, most, MOST_BLOCKS)
    return whole("kv_blocks", asked, 1, MOST_BLOCKS, error=CapacityError)


def check_swap(loaded: LoadedModel, swap_blocks: object, block_size: int) -> None:
    """Raise CapacityError, with the arithmetic, if the host's memory cannot hold that many swapped blocks."""
    if swap_blocks is None:
        return
    blocks = whole("swap_blocks", swap_blocks, 1, MOST_BLOCKS, error=CapacityError)
    free, size = free_bytes(torch.device("cpu")), block_size * loaded.kv_bytes_per_token
    if free is not None and blocks * size > free:
        raise CapacityError(
            f"host memory cannot hold {blocks:,} swapped KV blocks × {size:,} bytes = {blocks * size / 2**30:.1f} GiB: "
            f"{free / 2**30:.1f} GiB are free; ask for fewer swap_blocks."
        )


def affordable_blocks(loaded: LoadedModel, block_size: int) -> int | None:
    """KV blocks that fit in the free memory less the reserve; None if the system does not report free memory."""
    free = free_now(loaded.device)
    if free is None:
        return None
    return max(0, free - reserve(loaded.device)) // (block_size * loaded.kv_bytes_per_token)


def free_now(device: torch.device) -> int | None:
    """Bytes that can still be allocated, including those that PyTorch holds but does not use."""
    free = free_bytes(device)
    if free is not None and device.type == "cuda":
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free


def reserve(device: torch.device) -> int:
    """Bytes that the KV cache must leave free."""
    whole = capability(device).memory if device.type == "cuda" else free_bytes(device)
    return max(LEAST_RESERVE[device.type], int((whole or 0) * RESERVED_SHARE))

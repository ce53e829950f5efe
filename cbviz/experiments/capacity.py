"""How large a KV cache a device has room for, said before anything is allocated."""

from __future__ import annotations

import torch

from cbviz.errors import CapacityError
from cbviz.experiments.lane import kv_blocks_for
from cbviz.limits import MOST_BLOCKS, MOST_EXACT, whole
from cbviz.models import LoadedModel
from cbviz.models.capability import capability
from cbviz.models.device import free_bytes
from cbviz.workload import Workload

RESERVED_SHARE = 0.1
LEAST_RESERVE = {"cuda": 2 * 2**30, "cpu": 2**28}
"""What stays free for activations and graphs: a tenth of a GPU's memory (of a CPU's free memory), at least this."""


def choose_kv_blocks(
    loaded: LoadedModel, workload: Workload, *, slots: int, block_size: int, kv_blocks: int | None = None
) -> int:
    """KV blocks for a run: those that were asked for, or else what the workload can use and the device can hold.

    The workload can use as many as let every slot hold its longest request; never more than one slot a request.

    Raises
    ------
    CapacityError
        The longest request exceeds the model's context, or the blocks (asked for, or needed by one request) exceed the
        device's free memory less the reserve. The message shows the arithmetic.
    """
    longest = max(workload, key=lambda request: len(request.prompt) + request.max_new_tokens)
    positions = len(longest.prompt) + longest.max_new_tokens
    if positions > loaded.context_limit:
        raise CapacityError(
            f"request {longest.id} needs {positions:,} positions (a prompt of {len(longest.prompt):,} + max_new_tokens "
            f"{longest.max_new_tokens:,}), but {loaded.name} has a context of {loaded.context_limit:,}."
        )
    kv_blocks_for(workload, slots, block_size)  # says what is wrong with slots and block size
    usable = kv_blocks_for(workload, min(slots, len(workload)), block_size)
    return afforded(loaded, usable, block_size, asked=kv_blocks, least=-(-positions // block_size))


def afforded(
    loaded: LoadedModel, usable: int, block_size: int, *, asked: int | None = None, least: int = 1, caches: int = 1
) -> int:
    """KV blocks for each of so many caches: those asked for, or else as many as are of use and the device can hold.

    Parameters
    ----------
    usable
        More would be of no use.
    asked
        How many are wished for; None leaves it open.
    least
        With fewer nothing could be served.
    caches
        Caches that are held at the same time, such as those of lanes that take turns.

    Raises
    ------
    CapacityError
        The blocks asked for, or the fewest that are of use, exceed the device's free memory less the reserve. The
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
            f"{reserve(loaded.device) / 2**30:.1f} GiB of them are kept for activations and CUDA graphs; "
            f"{most:,} blocks{' each' * (caches > 1)} fit."
        )
    if asked is None:
        return min(usable, most, MOST_BLOCKS)
    return whole("kv_blocks", asked, 1, MOST_BLOCKS, error=CapacityError)


def check_swap(loaded: LoadedModel, swap_blocks: object, block_size: int) -> None:
    """Raise CapacityError, with the arithmetic, if the host has no memory for so many swapped blocks."""
    if swap_blocks is None:
        return
    blocks = whole("swap_blocks", swap_blocks, 1, MOST_BLOCKS, error=CapacityError)
    free, size = free_bytes(torch.device("cpu")), block_size * loaded.kv_bytes_per_token
    if free is not None and blocks * size > free:
        raise CapacityError(
            f"host memory has no room to swap {blocks:,} KV blocks × {size:,} bytes = {blocks * size / 2**30:.1f} GiB: "
            f"{free / 2**30:.1f} GiB are free; ask for fewer swap_blocks."
        )


def affordable_blocks(loaded: LoadedModel, block_size: int) -> int | None:
    """KV blocks that fit into the free memory less the reserve; None where the system does not tell what is free."""
    free = free_now(loaded.device)
    if free is None:
        return None
    return max(0, free - reserve(loaded.device)) // (block_size * loaded.kv_bytes_per_token)


def free_now(device: torch.device) -> int | None:
    """Bytes that can still be allocated, those that PyTorch holds without using them counted in."""
    free = free_bytes(device)
    if free is not None and device.type == "cuda":
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free


def reserve(device: torch.device) -> int:
    """Bytes that the KV cache leaves free."""
    whole = capability(device).memory if device.type == "cuda" else free_bytes(device)
    return max(LEAST_RESERVE[device.type], int((whole or 0) * RESERVED_SHARE))

"""How well the KV memory is used: written, kept for later, never needed, free."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.errors import MeasureError
from cbviz.measure.checks import a_trace, flag
from cbviz.trace import Trace


@dataclass(frozen=True, slots=True)
class KVShares:
    """Shares of the pool's positions, averaged over iterations; they sum to 1.

    Attributes
    ----------
    used
        They hold keys and values. The PagedAttention paper (SOSP'23, §2.3 and figure 2) calls them token states.
    reserved
        Allotted, and written later by their request.
    internal
        Allotted, and never written: internal fragmentation. Under paging it is the rest of everybody's last block.
    free
        Allotted to nobody: too few for the next request, or not asked for.
    iterations
        How many were averaged.
    """

    used: float
    reserved: float
    internal: float
    free: float
    iterations: int


def kv_shares(trace: Trace, *, contended: bool = True) -> KVShares:
    """How the KV pool of a run was used.

    Parameters
    ----------
    trace
        The run.
    contended
        Only iterations in which somebody waited, so that the pool's emptiness at the end of a list does not count.

    Raises
    ------
    MeasureError
        No pool, or no such iteration.
    """
    flag("contended", contended)
    it, positions = a_trace(trace).iterations, trace.meta.total_blocks * trace.meta.block_size
    if not positions:
        raise MeasureError(f"the run of {trace.meta.policy!r} has no KV pool.")
    counted = it.waiting > 0 if contended else it.waiting >= 0
    n = int(counted.sum())
    if not n:
        waited = " in which somebody waited" if contended else ""
        raise MeasureError(f"the run of {trace.meta.policy!r} has no iteration{waited}.")
    used, reserved, internal = (
        float(column[counted].mean()) / positions for column in (it.kv_used, it.kv_reserved, it.kv_internal)
    )
    return KVShares(used, reserved, internal, 1 - used - reserved - internal, n)

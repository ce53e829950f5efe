"""How a run used its KV memory: written, reserved, never written, free."""

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
        Positions with keys and values. The PagedAttention paper (SOSP'23, §2.3 and figure 2) calls them token states.
    reserved
        Allocated, and written later by their request.
    internal
        Allocated, and never written: internal fragmentation. Under paging it is the rest of each request's last block.
    free
        Not allocated: too few for the next request, or not needed.
    iterations
        Iterations averaged over.
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
        Average only over iterations with a waiting request, so that the pool draining at the end does not count.

    Returns
    -------
    KVShares
        Shares of the pool's positions.

    Raises
    ------
    MeasureError
        The run has no pool, or no such iteration.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import kv_shares
    >>> static, _ = cbviz.recorded("smollm2-8")
    >>> shares = kv_shares(static)
    >>> f"used {shares.used:.0%}, reserved {shares.reserved:.0%}, never written {shares.internal:.0%}"
    'used 44%, reserved 7%, never written 50%'
    """
    flag("contended", contended)
    it, positions = a_trace(trace).iterations, trace.meta.total_blocks * trace.meta.block_size
    if not positions:
        raise MeasureError(f"the run of {trace.meta.policy!r} has no KV pool.")
    counted = it.waiting > 0 if contended else it.waiting >= 0
    n = int(counted.sum())
    if not n:
        waited = " in which a request waited" if contended else ""
        raise MeasureError(f"the run of {trace.meta.policy!r} has no iteration{waited}.")
    used, reserved, internal = (
        float(column[counted].mean()) / positions for column in (it.kv_used, it.kv_reserved, it.kv_internal)
    )
    return KVShares(used, reserved, internal, 1 - used - reserved - internal, n)

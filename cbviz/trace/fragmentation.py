"""What becomes of KV memory that is allocated and not yet written; it is known only after the run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cbviz.events import NO_REQUEST, State

Grid = npt.NDArray[np.integer]
"""[iterations, slots]"""
Counts = npt.NDArray[np.int64]


def unwritten(
    request: Grid,
    state: Grid,
    context: Grid,
    allotted: Grid,
    stays: npt.NDArray[np.bool_],
    goes_on: npt.NDArray[np.bool_],
) -> tuple[Counts, Counts]:
    """Positions allocated and unwritten after each iteration: those written later, and those never written.

    The PagedAttention paper (SOSP'23, §2.3 and figure 2) calls the first *reserved* and the second *internal
    fragmentation*. It defines them for contiguous reservations; blocks pose the same question: does the request write
    there before it leaves its slot? What a held row writes does not count, because no request uses it. A request that
    is still running at the end of the recording might have written anywhere, so all its room counts as reserved.

    Parameters
    ----------
    request, state, context, allotted
        As in `Iteration`, all iterations at once, [iterations, slots].
    stays
        bool [slots, iterations]: where a request enters a slot.
    goes_on
        bool [slots]: whether the request in the slot at the end has not ended.

    Returns
    -------
    tuple
        (reserved, internal), int64 [iterations] each.
    """
    rows, slots = request.shape
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    kept = np.where((state != State.IDLE) & (state != State.HELD), context, 0).T.ravel().astype(np.int64)
    starts = np.flatnonzero(stays.ravel())
    last = np.maximum.reduceat(kept, starts)
    stops = np.append(starts[1:], slots * rows)
    last[(stops % rows == 0) & goes_on[(stops - 1) // rows]] = np.iinfo(np.int32).max
    reach = np.repeat(last, stops - starts).reshape(slots, rows).T
    empty = np.where(request == NO_REQUEST, 0, allotted.astype(np.int64) - context)
    later = np.clip(reach - context, 0, empty)
    return later.sum(axis=1), (empty - later).sum(axis=1)

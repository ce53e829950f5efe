"""What becomes of KV memory that is allotted and not yet written: known only when the run is over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cbviz.trace.events import NOBODY, State

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
    """Positions allotted and unwritten after each iteration: those that are written later, and those that never are.

    The PagedAttention paper (SOSP'23, §2.3 and figure 2) calls the first *reserved*, the second *internal
    fragmentation*. It sees them in contiguous reservations; in blocks the same question has the same answer: does this
    request, before it leaves its slot, write there? What a held row writes is for nobody and does not count. Of a
    request that the recording leaves in its slot nobody knows, and all its room counts as reserved.

    Parameters
    ----------
    request, state, context, allotted
        As in `Iteration`, all iterations at once, [iterations, slots].
    stays
        bool [slots, iterations]: where a request sits down.
    goes_on
        bool [slots]: the request in the slot at the end has not ended.

    Returns
    -------
    tuple
        int64 [iterations] each.
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
    empty = np.where(request == NOBODY, 0, allotted.astype(np.int64) - context)
    later = np.clip(reach - context, 0, empty)
    return later.sum(axis=1), (empty - later).sum(axis=1)

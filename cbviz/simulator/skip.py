"""How many equal iterations fit before something happens: the arithmetic of skipping.

Between two events a batch of B rows decodes. Iteration i of such a stretch takes s + iq seconds, s = a + bB + cK with K
the positions read in the first, and q = cB, for every row reads one position more each time. So m iterations take
ms + qm(m-1)/2 seconds.
"""

from __future__ import annotations

from math import ceil, sqrt

from cbviz.jit import inner

# Where a kernel keeps its numbers between two calls: counts in `ints`, seconds in `floats`.
HEAD, ITERATION, RUNNING, FREE_SLOTS, FREE_BLOCKS, USEFUL, COMPLETED = range(7)
MOST_DECODES, MOST_READ, MOST_PREFILL, MOST_CONTEXT = range(7, 11)
BACK, IDLE, STUCK, OPENED = range(11, 15)
INTS = 15
NOW, SEEN = range(2)
FLOATS = 2
"""HEAD is the next request to be admitted for the first time, NOW the end of the last iteration, SEEN the moment at
which the next one is planned: with a lag of 1 it is planned when the last one begins. OPENED is the next request that
arrives when another ends, in a closed loop; the number of requests where there is none."""


@inner
def span(m: float, s: float, q: float) -> float:
    """Seconds of m iterations."""
    return m * s + q * (m * (m - 1) / 2)


@inner
def until_arrival(k: int, lag: int, now: float, arrival: float, s: float, q: float) -> int:
    """Iterations of k before the one whose plan sees an arrival.

    An iteration is planned at the end of the one before it; with a lag of 1, at its beginning. The answer is at least 1
    and at most k.
    """
    if now + span(k - lag, s, q) < arrival:
        return k
    low, gap = 1 - lag, arrival - now
    m = low
    if gap > 0 and s > 0:  # the larger root of span(m) = gap, in the form that does not cancel
        half = s - q / 2
        below = half + sqrt(half * half + 2 * q * gap)
        m = max(low, ceil(2 * gap / below)) if below > 0 else low
    m = min(m, k - lag)
    while m > low and now + span(m - 1, s, q) >= arrival:
        m -= 1
    while now + span(m, s, q) < arrival:
        m += 1
    return m + lag

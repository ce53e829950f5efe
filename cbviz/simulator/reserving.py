"""Continuous batching with reserved memory, from event to event.

The policies `continuous` and `orca`: a request takes all its KV blocks at admission, its whole prompt is one chunk, and
nothing is ever preempted. So a request of L tokens lives L iterations, and when it ends is known when it is admitted.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from cbviz.simulator.skip import (
    COMPLETED,
    FREE_BLOCKS,
    FREE_SLOTS,
    HEAD,
    ITERATION,
    MOST_CONTEXT,
    MOST_DECODES,
    MOST_PREFILL,
    MOST_READ,
    NOW,
    OPENED,
    RUNNING,
    SEEN,
    USEFUL,
    span,
    until_arrival,
)


def serve_reserving(
    arrival: Any,
    prompt: Any,
    output: Any,
    need: Any,
    admitted: Any,
    first: Any,
    finished: Any,
    keys: Any,
    ints: Any,
    floats: Any,
    a: float,
    b: float,
    c: float,
    p: float,
    d: float,
    e: float,
    lag: int,
    quantum: int,
) -> bool:
    """Serve until `quantum` more requests are admitted, or all have ended. True if there is nothing left.

    `need` are the blocks that a request reserves. `admitted`, `first` and `finished` are filled in with seconds.
    `keys`, `ints` and `floats` hold the state between two calls: a key is the iteration in which a running request
    ends, times the number of requests, plus its row.
    """
    n = len(arrival)
    head, iteration, running = ints[HEAD], ints[ITERATION], ints[RUNNING]
    free_slots, free_blocks, useful, done = ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED]
    decodes_most, read_most = ints[MOST_DECODES], ints[MOST_READ]
    prefill_most, context_most = ints[MOST_PREFILL], ints[MOST_CONTEXT]
    opened, now, seen = ints[OPENED], floats[NOW], floats[SEEN]
    heap = [keys[i] for i in range(running)]  # sorted, so a heap
    kv = 0
    """Positions in the cache, of all running requests."""
    for i in range(running):
        row = keys[i] % n
        kv += prompt[row] + output[row] - 1 - (keys[i] // n - iteration + 1)
    stop = head + quantum
    while (head < n and head < stop) or (head == n and running > 0):
        while running > 0 and heap[0] // n < iteration:
            row = heappop(heap) % n
            finished[row] = now
            if opened < n:
                arrival[opened] = now
                opened += 1
            context = prompt[row] + output[row] - 1
            kv -= context
            context_most = max(context_most, context)
            free_slots += 1
            free_blocks += need[row]
            running -= 1
            done += 1
        newcomer = head
        decodes, read, prefill, attention = running, kv + running, 0, 0.0
        while head < n and free_slots > 0 and arrival[head] <= seen and need[head] <= free_blocks:
            length = prompt[head]
            if length == 1:
                decodes += 1
                read += 1
            else:
                prefill += length
                attention += length * (length / 2)
            free_slots -= 1
            free_blocks -= need[head]
            admitted[head] = now
            head += 1
        if head > newcomer:
            start = now
            now += a + b * decodes + c * read + p * prefill + d * attention + (e if prefill > 0 else 0.0)
            seen = start if lag else now
            kv += running
            for row in range(newcomer, head):
                first[row] = now
                heappush(heap, (iteration + output[row] - 1) * n + row)
                kv += prompt[row]
                context_most = max(context_most, prompt[row])
            running += head - newcomer
            iteration += 1
            useful += running
            decodes_most, read_most = max(decodes_most, decodes), max(read_most, read)
            prefill_most = max(prefill_most, prefill)
        elif running > 0:
            k = heap[0] // n - iteration + 1
            s, q = a + b * running + c * (kv + running), c * running
            if head < n and free_slots > 0 and need[head] <= free_blocks:
                k = until_arrival(k, lag, now, arrival[head], s, q)
            seen = now + span(k - lag, s, q)
            now += span(k, s, q)
            kv += k * running
            iteration += k
            useful += k * running
            decodes_most, read_most = max(decodes_most, running), max(read_most, kv)
        elif head == n:
            break
        elif seen < now:  # nothing is in flight any more, so the next plan sees the present
            seen = now
        else:
            now = max(now, arrival[head])
            seen = now
    heap.sort()
    for i in range(running):
        keys[i] = heap[i]
    ints[HEAD], ints[ITERATION], ints[RUNNING] = head, iteration, running
    ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED] = free_slots, free_blocks, useful, done
    ints[MOST_DECODES], ints[MOST_READ] = decodes_most, read_most
    ints[MOST_PREFILL], ints[MOST_CONTEXT] = prefill_most, context_most
    ints[OPENED], floats[NOW], floats[SEEN] = opened, now, seen
    return bool(head == n and running == 0)

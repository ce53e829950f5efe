"""Static batching, a batch at a time.

The policy `static`: a batch is admitted into an empty engine, and its rows are computed until the longest has ended.
All begin in the same iteration, so every time in the batch is a closed form.
"""

from __future__ import annotations

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
    SEEN,
    USEFUL,
)


def serve_batches(
    arrival: Any,
    prompt: Any,
    output: Any,
    need: Any,
    admitted: Any,
    first: Any,
    finished: Any,
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
    run_to: int,
    block_size: int,
    context_limit: int,
) -> bool:
    """Serve batches until `quantum` more requests have been admitted, or all. True if there is nothing left.

    The columns and the state are those of `serve_reserving`. A batch runs for at least `run_to` iterations. A finished
    row grows to the end of its blocks, or of the context, and is computed in place there.
    """
    n = len(arrival)
    head, iteration, useful = ints[HEAD], ints[ITERATION], ints[USEFUL]
    decodes_most, read_most = ints[MOST_DECODES], ints[MOST_READ]
    prefill_most, context_most = ints[MOST_PREFILL], ints[MOST_CONTEXT]
    opened, now, seen = ints[OPENED], floats[NOW], floats[SEEN]
    stop = head + quantum
    while head < n and head < stop:
        begin, slots, blocks = head, ints[FREE_SLOTS], ints[FREE_BLOCKS]
        ones, prefill, attention, tokens, longest, nearest = 0, 0, 0.0, 0, run_to, context_limit
        while head < n and slots > 0 and arrival[head] <= seen and need[head] <= blocks:
            length = prompt[head]
            if length == 1:
                ones += 1
            else:
                prefill += length
                attention += length * (length / 2)
            tokens += length
            longest = max(longest, output[head])
            nearest = min(nearest, min(need[head] * block_size, context_limit) - length)
            useful += output[head]
            slots -= 1
            blocks -= need[head]
            admitted[head] = now
            head += 1
        rows = head - begin
        if rows == 0:
            if seen < now:  # nothing is in flight any more, so the next plan sees the present
                seen = now
            else:
                now = max(now, arrival[head])
                seen = now
            continue
        start = now + a + b * ones + c * ones + p * prefill + d * attention + (e if prefill > 0 else 0.0)
        # Seconds of the first m decodes: m (a + bB) + c (m Σprompt + B m(m+1)/2 - what rows at their end do not read).
        # A row reads no more from age g on, its room less its prompt; of rows with g < m that makes (m-g)(m-g+1)/2.
        ages = [0 for _ in range(0)]
        if nearest < longest - 1:
            ages = [min(need[row] * block_size, context_limit) - prompt[row] for row in range(begin, head)]
            ages.sort()
        ends = [(output[row] - 1) * n + row for row in range(begin, head)]
        ends.sort()
        at, count, total, squares = 0, 0, 0, 0
        fixed = a + b * rows
        last, before = start, now
        for i in range(rows + 2):
            # The ends of the rows, then the last iteration but one, then the last.
            m = ends[i] // n if i < rows else longest - 3 + i - rows + 1
            if m < 0:
                continue
            if i == rows:  # may lie before the last end: begin again
                at, count, total, squares = 0, 0, 0, 0
            while at < len(ages) and ages[at] < m:
                count += 1
                total += ages[at]
                squares += ages[at] * ages[at]
                at += 1
            unread = (count * (m * m + m) - (2 * m + 1) * total + squares) // 2
            read = m * tokens + rows * (m * (m + 1) // 2) - unread
            end = start + m * fixed + c * read
            if i < rows:
                row = ends[i] % n
                first[row] = start
                finished[row] = end
                if opened < n:
                    arrival[opened] = end
                    opened += 1
            elif i == rows:
                before = end
            else:
                last = end
        k = longest - 1
        if k > 0:
            reading = 0
            for row in range(begin, head):
                room = min(need[row] * block_size, context_limit)
                held = min(prompt[row] + k, room)
                reading += held
                context_most = max(context_most, held)
            decodes_most, read_most = max(decodes_most, rows), max(read_most, reading)
        else:
            for row in range(begin, head):
                context_most = max(context_most, prompt[row])
            decodes_most, read_most = max(decodes_most, ones), max(read_most, ones)
        prefill_most = max(prefill_most, prefill)
        seen = before if lag else last
        now = last
        iteration += longest
    ints[HEAD], ints[ITERATION], ints[USEFUL], ints[COMPLETED] = head, iteration, useful, head
    ints[MOST_DECODES], ints[MOST_READ] = decodes_most, read_most
    ints[MOST_PREFILL], ints[MOST_CONTEXT] = prefill_most, context_most
    ints[OPENED], floats[NOW], floats[SEEN] = opened, now, seen
    return bool(head == n)

"""Paged memory, chunked prompts and preemption, from event to event.

The policies `vllm_v1` and `sarathi`: a request takes blocks as it grows, prompts are cut to a token budget, and the
newest requests are preempted when no block is free. Rows that only decode are *in step*: each takes in one token per
iteration, so when one ends, and in which iterations it needs a block, is known when it falls in. An iteration
costs as much work as it has rows that are not in step; where there are none, all iterations until a row ends, a block
is lacking or a request arrives are one event.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from cbviz.core.loop import STUCK_AFTER
from cbviz.jit import inner
from cbviz.simulator.skip import (
    BACK,
    COMPLETED,
    FREE_BLOCKS,
    FREE_SLOTS,
    HEAD,
    IDLE,
    ITERATION,
    MOST_CONTEXT,
    MOST_DECODES,
    MOST_PREFILL,
    MOST_READ,
    NOW,
    OPENED,
    RUNNING,
    SEEN,
    STUCK,
    USEFUL,
    span,
    until_arrival,
)


@inner
def until_growth(due: Any, iteration: int, k: int, rows: int, free: int) -> tuple[int, int]:
    """How many of k decodes of rows in step the free blocks suffice for, and how many blocks these take.

    `due[i]` rows need a block in every iteration that leaves the remainder i when divided by the block size.
    """
    size = len(due)
    rounds = min(k // size, free // rows)  # of `size` iterations each, in which every row takes one block
    fit, taken, i = rounds * size, rounds * rows, iteration % size
    while fit < k and taken + due[i] <= free:
        taken += due[i]
        fit += 1
        i = i + 1 if i + 1 < size else 0
    return fit, taken


def serve_growing(
    arrival: Any,
    prompt: Any,
    output: Any,
    admitted: Any,
    first: Any,
    finished: Any,
    computed: Any,
    generated: Any,
    blocks: Any,
    ends: Any,
    highest: Any,
    preemptions: Any,
    running: Any,
    returned: Any,
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
    block_size: int,
    decodes_first: bool,
    budget_tokens: int,
    threshold: int,
    whole: bool,
    kept: int,
) -> bool:
    """Serve until `quantum` more requests have ended, or all have. True if there is nothing left.

    Columns hold one entry a request: seconds as for `serve_reserving`, and its state: positions computed, tokens
    generated, blocks held, the iteration before which it ends, the most positions it ever had, preemptions. A row in
    step has an end (the others have 0), its `computed` lacks the number of the iteration, and its tokens and blocks
    follow from that: nothing is written while it decodes. `running` lists the rows in order of admission, those in step
    before the others; `returned` the preempted ones, the head of the queue last. `decodes_first` is Sarathi's order,
    else vLLM's, with its `threshold` for long prompts (0 for none); `whole` admits only where blocks for all tokens are
    free; `kept` blocks stay free where something runs.
    """
    n, size = len(arrival), block_size
    head, iteration = ints[HEAD], ints[ITERATION]
    free_slots, free_blocks, useful, done = ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED]
    decodes_most, read_most = ints[MOST_DECODES], ints[MOST_READ]
    prefill_most, context_most = ints[MOST_PREFILL], ints[MOST_CONTEXT]
    idle = ints[IDLE]
    opened, now, seen = ints[OPENED], floats[NOW], floats[SEEN]
    run = [running[i] for i in range(ints[RUNNING])]
    back = [returned[i] for i in range(ints[BACK])]
    # The rows in step: how many, when they end, which need a block when, and the sum of `computed`.
    step, total = 0, 0
    heap = [0 for _ in range(0)]
    due = [0 for _ in range(size)]
    for row in run:
        if ends[row] > 0:
            step += 1
            total += computed[row]
            heappush(heap, ends[row] * n + row)
            due[-computed[row] % size] += 1
    # Tokens that the other rows take in, one entry each.
    count = [0 for _ in range(0)]
    stop = done + quantum
    while done < stop and (head < n or len(run) > 0 or len(back) > 0):
        # ---- the running requests: where no block is free, a row that needs one takes it from the newest
        free, keep = free_blocks, len(run)
        if due[iteration % size] <= free:
            free -= due[iteration % size]
        else:
            i = 0
            while i < keep and i < step:
                row = run[i]
                if (computed[row] + iteration) % size == 0:
                    while free == 0 and keep > i:
                        keep -= 1
                        last = run[keep]
                        held = blocks[last] if ends[last] == 0 else (computed[last] + iteration + size - 1) // size
                        free += held
                    if keep > i:
                        free -= 1
                i += 1
        budget = budget_tokens - step
        count.clear()
        if keep > step:
            i = step
            while i < keep:
                row = run[i]
                take = prompt[row] + generated[row] - computed[row]
                if decodes_first:
                    take = take if take == 1 else 0
                else:
                    if 0 < threshold < take:
                        take = threshold
                    take = min(take, budget)
                needed = (computed[row] + take + size - 1) // size - blocks[row]
                while needed > free and keep > i:
                    keep -= 1
                    free += blocks[run[keep]]
                if keep > i:
                    count.append(take)
                    budget -= take
                    if needed > 0:
                        free -= needed
                i += 1
            if decodes_first:
                for i in range(len(count)):
                    if count[i] == 0 and budget > 0:
                        row = run[step + i]
                        count[i] = min(prompt[row] + generated[row] - computed[row], budget)
                        budget -= count[i]
        # ---- preempted requests go to the head of the queue, the newest first
        victims = len(run) - keep
        for _ in range(victims):
            row = run.pop()
            if ends[row] > 0:
                step -= 1
                total -= computed[row]
                due[-computed[row] % size] -= 1
                ends[row] = 0
                computed[row] += iteration
                generated[row] = computed[row] + 1 - prompt[row]
                blocks[row] = (computed[row] + size - 1) // size
                context_most = max(context_most, computed[row])
            highest[row] = max(highest[row], computed[row])
            preemptions[row] += 1
            free_blocks += blocks[row]
            blocks[row] = 0
            computed[row] = 0
            back.append(row)
        free_slots += victims
        # ---- the queue
        while victims == 0 and free_slots > 0 and budget > 0:
            if len(back) > 0:
                row = back[len(back) - 1]
            elif head < n and arrival[head] <= seen:
                row = head
            else:
                break
            known = prompt[row] + generated[row]
            take = threshold if 0 < threshold < known else known
            take = min(take, budget)
            must = takes = (known + size - 1) // size
            if decodes_first:
                if len(run) > 0:
                    must += kept
            else:
                takes = (take + size - 1) // size
                if not whole:
                    must = takes
            if must > free:
                break
            free -= takes
            budget -= take
            free_slots -= 1
            free_blocks -= takes
            blocks[row] = takes
            run.append(row)
            count.append(take)
            if len(back) > 0:
                back.pop()
            else:
                admitted[row] = now
                head += 1
        # ---- nothing to compute
        if len(run) == 0:
            if seen < now:  # nothing is in flight any more, so the next plan sees the present
                seen = now
            else:
                now = max(now, arrival[head])
                seen = now
            continue
        read = total + step * (iteration + 1)
        if len(run) == step:
            # ---- all are in step: how often does this very iteration repeat?
            s, q = a + b * step + c * read, c * step
            k = 1
            if victims == 0:
                while ends[heap[0] % n] != heap[0] // n:  # preempted since
                    heappop(heap)
                k = heap[0] // n - iteration
                # Who waits now was turned away, and will be for as long as nothing changes; who is to come was not.
                if k > 1 and free_slots > 0 and head < n and len(back) == 0 and arrival[head] > seen:
                    k = until_arrival(k, lag, now, arrival[head], s, q)
            k, taken = until_growth(due, iteration, k, step, free_blocks)
            free_blocks -= taken
            seen = now + span(k - lag, s, q)
            now += span(k, s, q)
            useful += k * step
            decodes_most, read_most = max(decodes_most, step), max(read_most, read + (k - 1) * step)
            idle = 0
            iteration += k
        else:
            # ---- one iteration of whatever was planned
            decodes, prefill, attention, advanced = step, 0, 0.0, step > 0
            useful += step
            free_blocks -= due[iteration % size]
            for i in range(len(count)):
                row, take = run[step + i], count[i]
                if take == 0:
                    continue
                if take == 1:
                    decodes += 1
                    read += computed[row] + 1
                else:
                    prefill += take
                    attention += take * (computed[row] + take / 2)
                if computed[row] >= highest[row]:
                    useful += 1
                    advanced = True
                computed[row] += take
                more = (computed[row] + size - 1) // size - blocks[row]
                if more > 0:
                    blocks[row] += more
                    free_blocks -= more
                context_most = max(context_most, computed[row])
            start = now
            now += a + b * decodes + c * read + p * prefill + d * attention + (e if prefill > 0 else 0.0)
            seen = start if lag else now
            iteration += 1
            decodes_most, read_most = max(decodes_most, decodes), max(read_most, read)
            prefill_most = max(prefill_most, prefill)
            # ---- tokens: a row with its first one, or recomputed, falls in step; one with its last one leaves
            begin = at = step
            for i in range(len(count)):
                row = run[begin + i]
                if count[i] > 0 and computed[row] == prompt[row] + generated[row]:
                    advanced = True
                    if generated[row] == 0:
                        first[row] = now
                    generated[row] += 1
                    if generated[row] == output[row]:
                        finished[row] = now
                        if opened < n:
                            arrival[opened] = now
                            opened += 1
                        free_blocks += blocks[row]
                        free_slots += 1
                        done += 1
                        continue
                    if at == step and (decodes_first or step < budget_tokens):
                        ends[row] = iteration + output[row] - generated[row]
                        heappush(heap, ends[row] * n + row)
                        computed[row] -= iteration
                        total += computed[row]
                        due[-computed[row] % size] += 1
                        step += 1
                run[at] = row
                at += 1
            while len(run) > at:
                run.pop()
            idle = 0 if advanced else idle + 1
            if idle > STUCK_AFTER:
                ints[STUCK] = 1
                break
        # ---- rows in step that have ended leave before the next plan
        while len(heap) > 0 and heap[0] < (iteration + 1) * n:
            key = heappop(heap)
            row = key % n
            if ends[row] != key // n:  # preempted since
                continue
            finished[row] = now
            if opened < n:
                arrival[opened] = now
                opened += 1
            step -= 1
            total -= computed[row]
            due[-computed[row] % size] -= 1
            ends[row] = 0
            context = prompt[row] + output[row] - 1
            context_most = max(context_most, context)
            free_blocks += (context + size - 1) // size
            free_slots += 1
            done += 1
            run.remove(row)
    for i in range(len(run)):
        running[i] = run[i]
        if i < step:
            context_most = max(context_most, computed[run[i]] + iteration)
    for i in range(len(back)):
        returned[i] = back[i]
    ints[HEAD], ints[ITERATION], ints[RUNNING], ints[BACK] = head, iteration, len(run), len(back)
    ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED] = free_slots, free_blocks, useful, done
    ints[MOST_DECODES], ints[MOST_READ] = decodes_most, read_most
    ints[MOST_PREFILL], ints[MOST_CONTEXT], ints[IDLE] = prefill_most, context_most, idle
    ints[OPENED], floats[NOW], floats[SEEN] = opened, now, seen
    return bool(head == n and len(run) == 0 and len(back) == 0)

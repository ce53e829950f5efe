"""Paged memory, chunked prompts and preemption, skipping the stretches in which nothing happens but decoding.

The policies `vllm_v1` and `sarathi`: a request takes blocks as it grows, prompts are cut to a token budget, and the
newest requests are preempted when no block is free. Every iteration is planned as these policies plan it; only where
all rows decode, and no request can enter, run out of blocks or end, is the same iteration repeated without planning.
"""

from __future__ import annotations

from typing import Any

from cbviz.core.loop import STUCK_AFTER
from cbviz.simulator.jit import inner
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
def blocks_after(run: Any, computed: Any, blocks: Any, k: int, size: int) -> int:
    """Blocks that the running requests take within k decodes."""
    lacking = 0
    for row in run:
        more = (computed[row] + k + size - 1) // size - blocks[row]
        if more > 0:
            lacking += more
    return lacking


@inner
def until_growth(run: Any, computed: Any, blocks: Any, k: int, size: int, free: int) -> int:
    """How many of k decodes, at least 1, the free blocks suffice for; they suffice for one."""
    if len(run) * ((k + size - 1) // size) <= free or blocks_after(run, computed, blocks, k, size) <= free:
        return k
    low = 1
    while k - low > 1:
        middle = (low + k) // 2
        if blocks_after(run, computed, blocks, middle, size) <= free:
            low = middle
        else:
            k = middle
    return low


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
    generated, blocks held, the most positions it ever had, preemptions. `running` lists the rows in order of admission,
    `returned` the preempted ones, the head of the queue last. `decodes_first` is Sarathi's order, else vLLM's, with its
    `threshold` for long prompts (0 for none); `whole` admits only where blocks for all tokens are free; `kept` blocks
    stay free where something runs.
    """
    n = len(arrival)
    head, iteration = ints[HEAD], ints[ITERATION]
    free_slots, free_blocks, useful, done = ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED]
    decodes_most, read_most = ints[MOST_DECODES], ints[MOST_READ]
    prefill_most, context_most = ints[MOST_PREFILL], ints[MOST_CONTEXT]
    idle = ints[IDLE]
    opened, now, seen = ints[OPENED], floats[NOW], floats[SEEN]
    run = [running[i] for i in range(ints[RUNNING])]
    back = [returned[i] for i in range(ints[BACK])]
    # Columns of this iteration's plan, one entry a running request.
    count = [0 for _ in range(0)]
    stop = done + quantum
    while done < stop and (head < n or len(run) > 0 or len(back) > 0):
        # ---- the running requests
        budget, free, prompts, victims = budget_tokens, free_blocks, 0, 0
        keep = len(run)
        count.clear()
        if decodes_first:
            i = 0
            while i < keep:
                row = run[i]
                lacks = prompt[row] + generated[row] - computed[row]
                count.append(0)
                if lacks > 1:
                    prompts += 1
                else:
                    needed = 1 if computed[row] == blocks[row] * block_size else 0
                    while needed > free and keep > i + 1:
                        keep -= 1
                        free += blocks[run[keep]]
                    if needed > free:
                        keep -= 1
                        free += blocks[row]
                    else:
                        count[i] = 1
                        budget -= 1
                        free -= needed
                i += 1
            if prompts > 0:
                for i in range(keep):
                    row = run[i]
                    lacks = prompt[row] + generated[row] - computed[row]
                    if lacks > 1 and budget > 0:
                        count[i] = min(lacks, budget)
                        budget -= count[i]
        else:
            i = 0
            while i < keep:
                row = run[i]
                wanted = prompt[row] + generated[row] - computed[row]
                if threshold > 0:
                    wanted = min(wanted, threshold)
                take = min(wanted, budget)
                needed = max(0, (computed[row] + take + block_size - 1) // block_size - blocks[row])
                while needed > free and keep > i:
                    keep -= 1
                    free += blocks[run[keep]]
                if keep > i:
                    count.append(take)
                    budget -= take
                    free -= needed
                i += 1
        # ---- preempted requests go to the head of the queue, the newest first
        while len(run) > keep:
            row = run.pop()
            highest[row] = max(highest[row], computed[row])
            preemptions[row] += 1
            free_blocks += blocks[row]
            free_slots += 1
            blocks[row] = 0
            computed[row] = 0
            back.append(row)
            victims += 1
        # ---- the queue
        old = keep
        while victims == 0 and free_slots > 0:
            if len(back) > 0:
                row = back[len(back) - 1]
            elif head < n and arrival[head] <= seen:
                row = head
            else:
                break
            if budget < 1:
                break
            known = prompt[row] + generated[row]
            take = min(known, threshold) if threshold > 0 else known
            take = min(take, budget)
            all_of_it = (known + block_size - 1) // block_size
            chunk = (take + block_size - 1) // block_size
            if decodes_first:
                must, takes = all_of_it + (kept if len(run) > 0 else 0), all_of_it
            else:
                must, takes = all_of_it if whole else chunk, chunk
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
        # ---- how often this very iteration repeats
        k, decodes, read, prefill, attention = 1, 0, 0, 0, 0.0
        if (
            len(run) == old
            and victims == 0
            and prompts == 0
            and budget == budget_tokens - old
            and (decodes_first or budget >= 0)
        ):
            k = output[run[0]]
            pure = True
            for i in range(old):
                row = run[i]
                # The first token, and what is computed again, are for the general case.
                begun = generated[row] > 0 and computed[row] >= highest[row]
                pure = pure and begun and computed[row] + 1 == prompt[row] + generated[row]
                k = min(k, output[row] - generated[row])
                read += computed[row] + 1
            if pure:
                if k > 1:
                    k = until_growth(run, computed, blocks, k, block_size, free_blocks)
                s, q = a + b * old + c * read, c * old
                # Who waits now was turned away, and will be for as long as nothing changes; who is to come was not.
                waits = len(back) > 0 or (head < n and arrival[head] <= seen)
                if k > 1 and free_slots > 0 and not waits and head < n:
                    k = until_arrival(k, lag, now, arrival[head], s, q)
                for i in range(old):
                    row = run[i]
                    computed[row] += k
                    generated[row] += k
                    more = (computed[row] + block_size - 1) // block_size - blocks[row]
                    if more > 0:
                        blocks[row] += more
                        free_blocks -= more
                    context_most = max(context_most, computed[row])
                seen = now + span(k - lag, s, q)
                now += span(k, s, q)
                useful += k * old
                decodes_most, read_most = max(decodes_most, old), max(read_most, read + (k - 1) * old)
                decodes = -1  # done
            else:
                k, read = 1, 0
        # ---- or one iteration of whatever was planned
        if decodes == 0:
            advanced = False
            for i in range(len(run)):
                row, take = run[i], count[i]
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
                more = (computed[row] + block_size - 1) // block_size - blocks[row]
                if more > 0:
                    blocks[row] += more
                    free_blocks -= more
                context_most = max(context_most, computed[row])
            start = now
            now += a + b * decodes + c * read + p * prefill + d * attention + (e if prefill > 0 else 0.0)
            seen = start if lag else now
            for i in range(len(run)):
                row = run[i]
                if count[i] > 0 and computed[row] == prompt[row] + generated[row]:
                    if generated[row] == 0:
                        first[row] = now
                    generated[row] += 1
                    advanced = True
            idle = 0 if advanced else idle + 1
            if idle > STUCK_AFTER:
                ints[STUCK] = 1
                break
            decodes_most, read_most = max(decodes_most, decodes), max(read_most, read)
            prefill_most = max(prefill_most, prefill)
        iteration += k
        # ---- those that have ended leave before the next plan
        ended = 0
        for i in range(len(run)):
            row = run[i]
            if generated[row] >= output[row]:
                finished[row] = now
                if opened < n:
                    arrival[opened] = now
                    opened += 1
                free_blocks += blocks[row]
                blocks[row] = 0
                free_slots += 1
                ended += 1
            elif ended > 0:
                run[i - ended] = row
        for _ in range(ended):
            run.pop()
        done += ended
    for i in range(len(run)):
        running[i] = run[i]
    for i in range(len(back)):
        returned[i] = back[i]
    ints[HEAD], ints[ITERATION], ints[RUNNING], ints[BACK] = head, iteration, len(run), len(back)
    ints[FREE_SLOTS], ints[FREE_BLOCKS], ints[USEFUL], ints[COMPLETED] = free_slots, free_blocks, useful, done
    ints[MOST_DECODES], ints[MOST_READ] = decodes_most, read_most
    ints[MOST_PREFILL], ints[MOST_CONTEXT], ints[IDLE] = prefill_most, context_most, idle
    ints[OPENED], floats[NOW], floats[SEEN] = opened, now, seen
    return bool(head == n and len(run) == 0 and len(back) == 0)

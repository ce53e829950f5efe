"""Who computes the cells of a sweep: this process, processes on all cores, or Ray. The rows are the same.

A runner yields cells as they are done, in any order. A cell that raises is a failure with one sentence. A worker that
dies takes no cell with it: it is computed again, at most `TRIES` times, alone, so that it cannot take others along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from cbviz.checks import one_line
from cbviz.run.ray_cluster import connected
from cbviz.run.sweep_plan import SweepCell
from cbviz.worker import attempt, leave_interrupts_alone

TRIES = 3
AHEAD = 2
"""Cells handed out for each worker, so that none waits for its next one."""

Work = Callable[..., Any]
Done = tuple[SweepCell, dict[str, Any], str]
"""A cell, its results, and why it failed ("" if it did not)."""


def in_process(work: Work, cells: Iterable[SweepCell], fixed: dict[str, Any]) -> Generator[Done, None, None]:
    """One cell after the other, here."""
    for cell in cells:
        yield (cell, *attempt(work, _arguments(cell, fixed)))


def on_cores(
    work: Work, cells: Iterable[SweepCell], fixed: dict[str, Any], workers: int
) -> Generator[Done, None, None]:
    """In as many processes as asked for. Raises SweepError for a function that no other process can import."""
    waiting, tries = list(reversed(list(cells))), dict[int, int]()
    while waiting:
        lost: list[SweepCell] = []
        yield from _in_pool(work, waiting, fixed, workers, lost)
        for cell in lost:  # one of them killed its worker: each alone, so that the others are safe
            gone = [cell]
            while gone and tries.get(cell.index, 0) < TRIES - 1:
                tries[cell.index] = tries.get(cell.index, 0) + 1
                again, gone = [cell], []
                yield from _in_pool(work, again, fixed, 1, gone)
            if gone:
                yield cell, {}, f"its worker process died {TRIES} times"


def _in_pool(
    work: Work, waiting: list[SweepCell], fixed: dict[str, Any], workers: int, lost: list[SweepCell]
) -> Generator[Done, None, None]:
    """Compute cells from the end of a list until it is empty or a worker dies; cells in flight are then `lost`."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=leave_interrupts_alone)
    flight: dict[Future[tuple[dict[str, Any], str]], SweepCell] = {}
    ended = False
    try:
        while waiting or flight:
            while waiting and len(flight) < workers * (AHEAD if workers > 1 else 1):
                cell = waiting.pop()
                try:
                    flight[pool.submit(attempt, work, _arguments(cell, fixed))] = cell
                except BrokenProcessPool:
                    waiting.append(cell)
                    break
            if not flight:
                break
            for future in wait(flight, return_when=FIRST_COMPLETED).done:
                cell = flight.pop(future)
                try:
                    found = future.result()
                except BrokenProcessPool:
                    lost.append(cell)
                    continue
                except Exception as error:  # results that no other process can be sent
                    found = {}, f"its results could not be sent here ({one_line(error, 100)})"
                yield (cell, *found)
            if lost:
                for future, cell in flight.items():
                    if future.done() and not future.cancelled() and future.exception() is None:
                        yield (cell, *future.result())
                    else:
                        lost.append(cell)
                break
        ended = True
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        for process in () if ended else processes:  # stopped in the middle: nothing waits for these cells
            with contextlib.suppress(Exception):
                process.terminate()
        pool.shutdown(cancel_futures=True)  # and gives back its semaphores, even if the process ends at once


def on_ray(
    work: Work, cells: Iterable[SweepCell], fixed: dict[str, Any], address: str, workers: int | None
) -> Generator[Done, None, None]:
    """On a Ray cluster: an existing one by its address, or with "local" one that is started and shut down here.

    Raises SweepError where Ray is not installed, or no cluster answers within seconds.
    """
    flight: dict[Any, SweepCell] = {}
    with connected(address, workers) as ray:
        try:
            task = ray.remote(max_retries=TRIES - 1)(attempt)
            rest = iter(cells)
            most = max(1, int(ray.cluster_resources().get("CPU", 1))) * AHEAD
            while True:
                for cell in rest:
                    flight[task.remote(work, _arguments(cell, fixed))] = cell
                    if len(flight) >= most:
                        break
                if not flight:
                    return
                for reference in ray.wait(list(flight))[0]:
                    cell = flight.pop(reference)
                    try:
                        found = ray.get(reference)
                    except Exception as error:
                        found = {}, f"its worker was lost {TRIES} times ({one_line(error, 100)})"
                    yield (cell, *found)
        finally:
            for reference in flight:  # stopped in the middle: nothing waits for these cells
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)


def _arguments(cell: SweepCell, fixed: dict[str, Any]) -> dict[str, Any]:
    return {**fixed, **cell.parameters, "seed": cell.seed}

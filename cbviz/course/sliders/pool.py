"""Notebook 08: how much KV memory, in blocks of which size, and what is computed again."""

from __future__ import annotations

from functools import cache

import numpy as np

from cbviz.checks import shown
from cbviz.course.knobs import Knobs
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import charted, point, upright
from cbviz.course.words import knob, say, term
from cbviz.errors import CbvizError
from cbviz.run.schedule import schedule
from cbviz.trace import Trace
from cbviz.view.chart import Chart, Series
from cbviz.workload import Workload

MEMORY = (384, 448, 512, 576, 640, 704, 768, 1024)
SIZES = (1, 4, 16, 32, 64)


def pool(work: Workload) -> Knobs:
    """Iterations, and tokens computed again, against the KV memory, with sliders for the memory and the block size.

    Parameters
    ----------
    work
        Requests of known lengths, each of which fits 384 positions. They run on eight slots under `vllm_v1`.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows 384 positions in blocks of 16.

    Raises
    ------
    CbvizError
        It is no workload.
    """
    if not isinstance(work, Workload):
        raise CbvizError(f"pool takes a workload of known lengths, not {shown(work)}.")

    @cache
    def ran(memory: int, block: int) -> Trace:
        return schedule("vllm_v1", work, slots=8, block_size=block, kv_blocks=memory // block)

    def again(trace: Trace) -> int:
        return int(trace.iterations.recompute_tokens.sum())

    def picture(kv_positions: int = MEMORY[0], block_size: int = 16) -> Shown:
        x = np.array(MEMORY, float)
        runs = [ran(most, block_size) for most in MEMORY]
        here = ran(kv_positions, block_size)
        tokens = np.array([again(trace) for trace in runs], float)
        iterations = np.array([len(trace.iterations) for trace in runs], float)
        chart = Chart(
            say("pool", block=block_size),
            knob("kv_positions"),
            term("how many"),
            (
                Series(term("tokens computed again"), x, tokens, style=1),
                Series(term("iterations"), x, iterations, style=0),
                point(str(again(here)), kv_positions, again(here), style=1),
                point(str(len(here.iterations)), kv_positions, len(here.iterations), style=0),
                upright(
                    say("pool here", memory=kv_positions), kv_positions, 0, max(tokens.max(), iterations.max()), style=3
                ),
            ),
        )
        return charted(
            chart,
            say(
                "pool said",
                memory=kv_positions,
                blocks=kv_positions // block_size,
                block=block_size,
                iterations=len(here.iterations),
                preemptions=int(here.requests.preemptions.sum()),
                again=again(here),
            ),
        )

    return Knobs(picture, {"kv_positions": MEMORY, "block_size": SIZES}, {"kv_positions": MEMORY[0], "block_size": 16})

"""A live board of a running vLLM: its lines are followed in a thread, and every pass is drawn as it comes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cbviz.adapters.vllm.lines import follow
from cbviz.adapters.vllm.reader import LineReader
from cbviz.errors import AdapterError, CbvizError
from cbviz.events import Iteration
from cbviz.paths import path_of, short
from cbviz.view.pack import RequestText

if TYPE_CHECKING:
    from cbviz.view.widget import LiveBoard


def watch(
    path: str | os.PathLike[str], *, slots: int | None = None, language: str = "en", patience: float = 600.0
) -> LiveBoard:
    """Show vLLM's iterations while it writes their lines. Needs the notebook extra.

    It returns at the first pass; the board ends when vLLM does, or `patience` seconds after its last line.

    Parameters
    ----------
    path
        The file or pipe that `CBVIZ_VLLM_LINES` names.
    slots
        Slots to show; None takes vLLM's `max_num_seqs`.
    language
        Of the board.
    patience
        Seconds to wait for a line.

    Returns
    -------
    LiveBoard
        With one lane.

    Raises
    ------
    AdapterError
        Nothing came, or a line cannot be used.
    FileError
        The path cannot be read.
    """
    from cbviz.view.widget import LaneInfo, LiveBoard

    reader = LineReader(short(path_of(path)))
    iterations = follow(path, slots=slots, patience=patience, reader=reader)
    first = next(iterations, None)
    if first is None:
        raise AdapterError(f"{short(path_of(path))} brought no pass of vLLM in {patience:g} seconds.")
    meta = reader.meta(len(first.request))
    board = LiveBoard([LaneInfo(meta.policy, meta.policy_summary, meta.slots)], subtitle=meta.model, language=language)
    threading.Thread(target=_feed, args=(board, reader, first, iterations), name="cbviz watch", daemon=True).start()
    return board


def _feed(board: LiveBoard, reader: LineReader, first: Iteration, iterations: Iterator[Iteration]) -> None:
    shown = 0

    def push(iteration: Iteration) -> None:
        nonlocal shown
        known = list(reader.ledger.requests.values())
        board.add_requests(RequestText(r.id, "", len(r.prompt), r.max_new_tokens, r.arrival) for r in known[shown:])
        shown = len(known)
        board.push(0, iteration)

    try:
        push(first)
        for iteration in iterations:
            push(iteration)
    except CbvizError as error:
        board.fail(str(error))
    else:
        board.finish()

"""A trace as pandas data frames, to filter, group and plot."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from cbviz.errors import TraceError
from cbviz.events import FinishReason, State
from cbviz.trace.trace import MARK_KINDS, Trace

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(trace: Trace) -> dict[str, pd.DataFrame]:
    """The four tables as data frames.

    Columns are those of the tables, with names instead of numbers for states, kinds and finish reasons ("" for a
    request that has not ended). Additional columns are `output_tokens` (requests), `seconds` (iterations), and
    `t_start` and `t_end` in seconds on the lane's clock (spans).

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    dict[str, pandas.DataFrame]
        "requests", "iterations", "spans" and "marks".

    Raises
    ------
    TraceError
        pandas is not installed.

    Examples
    --------
    >>> import cbviz
    >>> static, _ = cbviz.recorded("smollm2-8")
    >>> frames = static.to_pandas()
    >>> frames["spans"].groupby("state")["tokens"].sum().to_dict()
    {'decode': 1520, 'held': 3480, 'prefill': 1808}
    """
    try:
        import pandas as pd
    except ImportError:
        raise TraceError("to_pandas needs pandas; install it with: pip install pandas") from None
    frames = {}
    for name in ("requests", "iterations", "spans", "marks"):
        table = getattr(trace, name)
        columns = {field.name: getattr(table, field.name) for field in fields(table)}
        frames[name] = pd.DataFrame(
            {key: c.copy() if isinstance(c, np.ndarray) else pd.Series(c, dtype=object) for key, c in columns.items()}
        )
    rq, it, sp, mk = trace.requests, trace.iterations, trace.spans, trace.marks
    reasons = [reason.name.lower() for reason in FinishReason] + [""]  # -1, not ended, takes the last
    frames["requests"]["reason"] = [reasons[number] for number in rq.reason]
    frames["requests"]["output_tokens"] = [len(tokens) for tokens in rq.tokens]
    frames["iterations"]["seconds"] = it.t_end - it.t_start
    frames["spans"]["state"] = [State(number).name.lower() for number in sp.state]
    frames["spans"]["t_start"] = it.t_start[sp.first]
    frames["spans"]["t_end"] = it.t_end[sp.end - 1]
    frames["marks"]["kind"] = [MARK_KINDS[number] for number in mk.kind]
    return frames

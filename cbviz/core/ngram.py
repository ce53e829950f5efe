"""Draft tokens from the text itself: what followed the last few tokens when they came before.

Prompt lookup decoding (Saxena, 2023; github.com/apoorvumang/prompt-lookup-decoding); vLLM calls it the *ngram* method
(`v1/spec_decode/ngram_proposer.py`). It needs no second model, and it pays where an answer copies its prompt or itself.
"""

from __future__ import annotations

import numpy as np

from cbviz.config import Speculation
from cbviz.events import IntArray


def propose(tokens: IntArray, rule: Speculation, most: int) -> IntArray:
    """The tokens that may come next, copied from where the last few tokens occurred first.

    The longest of the allowed n-grams that occurs earlier decides. Of several occurrences the first is taken, as in
    Saxena's code: the most tokens follow it.

    Parameters
    ----------
    tokens
        int32 [length]: the prompt and the output so far.
    rule
        How many tokens are compared, and how many are drafted.
    most
        The most drafts that can be used, at least 1.

    Returns
    -------
    IntArray
        int32 [drafts]: at most `rule.k` and `most`; empty where the last tokens are new.

    Examples
    --------
    >>> import numpy as np
    >>> from cbviz.config import Speculation
    >>> text = np.array([5, 6, 7, 8, 9, 5, 6], np.int32)
    >>> propose(text, Speculation(k=4, n_max=3, n_min=2), 4).tolist()
    [7, 8, 9, 5]
    >>> propose(text[:-1], Speculation(k=4, n_max=3, n_min=2), 4).tolist()
    []
    """
    for n in range(min(rule.n_max, len(tokens) - 1), rule.n_min - 1, -1):
        earlier = np.lib.stride_tricks.sliding_window_view(tokens[:-1], n)
        found = np.flatnonzero((earlier == tokens[-n:]).all(axis=1))
        if len(found):
            begin = int(found[0]) + n
            return tokens[begin : begin + min(rule.k, most)]
    return tokens[:0]

"""How long an iteration takes: six coefficients, what they were fitted on, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from cbviz.checks import finite, shown
from cbviz.errors import CalibrationError

COEFFICIENTS = ("iteration", "decode", "kv_token", "prefill_token", "attention", "prefill")
"""The coefficients in the order of the formula."""
MOST_SECONDS = 3_600.0
"""Of any coefficient: no iteration takes an hour."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The largest iteration that a cost model was fitted on, and so the range in which it is valid.

    Attributes
    ----------
    decodes
        Rows that took in one token.
    kv_tokens
        Positions that these rows read.
    prefill_tokens
        Tokens taken in by longer rows.
    context
        Positions of one request.
    """

    decodes: int
    kv_tokens: int
    prefill_tokens: int
    context: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Mean absolute relative errors on requests that the coefficients were not fitted on.

    Attributes
    ----------
    requests
        How many.
    ttft, tpot, e2e
        Errors of first admission to first token, of the time per output token, and of first admission to last token,
        as shares: 0.02 is 2 %. None where no held-out request has such a time.
    """

    requests: int
    ttft: float | None
    tpot: float | None
    e2e: float | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a cost model comes from.

    Attributes
    ----------
    method
        "fitted" to measured iterations, or "derived" from published figures.
    device, model, dtype
        What ran.
    versions
        Of cbviz, torch and so on.
    traces
        SHA-256 of each trace that it was fitted on.
    extent
        Its valid range; None for one without a known end.
    held_out
        Its error; None where nothing was held out.
    notes
        What a reader should know, a sentence each: coefficients that could not be identified, sources of figures.
    """

    method: str
    device: str
    model: str
    dtype: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    traces: tuple[str, ...] = ()
    extent: Extent | None = None
    held_out: HeldOut | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds of an iteration: t = a + b·decodes + c·KV read + p·prefill tokens + d·Σ chunk·(context + chunk/2) + e.

    A row that takes in one token is a decode, whatever it is for: it reads the keys and values of its whole context. A
    longer row is a chunk of a prompt, or of what a preemption threw away. Each term has a physical counterpart:
    launches and reading the weights (a), the row's share of matrix products and sampling (b), reading the KV cache (c),
    the chunk's matrix products (p), and its attention, which grows with the square of its length (d). The last one (e)
    counts only in iterations with such chunks: an engine that takes prompts in by a pass of its own launches twice.

    Parameters
    ----------
    iteration, decode, kv_token, prefill_token, attention, prefill
        a, b, c, p, d and e in seconds, at least 0. One of them must be above 0.
    name
        What results call it.
    origin
        What it was fitted on; None for one made by hand.

    Raises
    ------
    CalibrationError
        A coefficient is not a finite number of at least 0, or all are 0.

    Examples
    --------
    An iteration of 5 ms, and 0.1 ms for each decode:

    >>> from cbviz.simulator import CostModel
    >>> cost = CostModel(iteration=0.005, decode=0.0001)
    >>> round(cost.seconds(decodes=8, kv_tokens=4_000), 6)
    0.0058
    """

    iteration: float
    decode: float = 0.0
    kv_token: float = 0.0
    prefill_token: float = 0.0
    attention: float = 0.0
    prefill: float = 0.0
    name: str = "by hand"
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for name in COEFFICIENTS:
            value = finite(getattr(self, name))
            if value is None or not 0 <= value <= MOST_SECONDS:
                raise CalibrationError(
                    f"the coefficient {name} must be a number of seconds from 0 to {MOST_SECONDS:,.0f}, not "
                    f"{shown(getattr(self, name))}."
                )
            object.__setattr__(self, name, value)
        if not any(self.coefficients):
            raise CalibrationError("an iteration must cost something: all coefficients are 0.")

    @property
    def coefficients(self) -> tuple[float, float, float, float, float, float]:
        """a, b, c, p, d and e."""
        return self.iteration, self.decode, self.kv_token, self.prefill_token, self.attention, self.prefill

    def seconds(self, decodes: Any, kv_tokens: Any, prefill_tokens: Any = 0, attention: Any = 0.0) -> Any:
        """Seconds of an iteration, or of many.

        Parameters
        ----------
        decodes
            Rows that take in one token. This and the others may be arrays, with one entry an iteration.
        kv_tokens
            Positions that they read, their own included.
        prefill_tokens
            Tokens of the longer rows.
        attention
            Σ chunk·(context + chunk/2) over these rows; `context` is what each had before.

        Returns
        -------
        float or ndarray
            Seconds.
        """
        a, b, c, p, d, e = self.coefficients
        return a + b * decodes + c * kv_tokens + p * prefill_tokens + d * attention + e * (prefill_tokens > 0)

    def beyond(self, reached: Extent) -> tuple[str, ...]:
        """What of a run lies outside the range in which this cost model is valid.

        Parameters
        ----------
        reached
            The largest iteration of the run.

        Returns
        -------
        tuple of str
            Names of `Extent`'s attributes that the run exceeds; empty without a known range.
        """
        if self.origin is None or self.origin.extent is None:
            return ()
        return tuple(f.name for f in fields(Extent) if getattr(reached, f.name) > getattr(self.origin.extent, f.name))

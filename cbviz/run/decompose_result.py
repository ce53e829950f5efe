"""What a decomposition found: seconds of every step, and what each change was worth, in every order that was run."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.headline import article_credit, theory
from cbviz.messages import FIRST, Message, say
from cbviz.paths import printable
from cbviz.run.decompose_measure import StepResult
from cbviz.run.decompose_plan import Benchmark, DecomposeStep, factor_name
from cbviz.run.decompose_words import sentences, table
from cbviz.view.language import chosen
from cbviz.view.waterfall import Fall, Waterfall

DECOMPOSITION_FORMAT, DECOMPOSITION_VERSION = "cbviz decomposition", 1


@dataclass(frozen=True, slots=True)
class Factor:
    """What one change was worth.

    Attributes
    ----------
    name
        A scheme or kernels (see `cbviz.run.decompose_plan`).
    before, after
        Keys of the two steps.
    ratio, low, high
        Seconds before / seconds after, and the least and the most that their spreads allow.
    article
        What the article credits it with, None if nothing.
    theory
        What a closed form says, None if there is none.
    forecast
        What the simulator said before, None if it was not asked.
    """

    name: str
    before: str
    after: str
    ratio: float
    low: float
    high: float
    article: float | None
    theory: float | None
    forecast: float | None


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A benchmark taken apart.

    Attributes
    ----------
    benchmark
        The work and the memory that all steps share.
    model, device, dtype
        What ran; of a simulation, what its calibration is of.
    cost
        Name of the calibration of a simulation; "" for a measurement.
    results
        Key → what the step took.
    chains
        Order → its steps.
    quadrants
        The steps of the 2 × 2 of scheduler and kernels, and of attention naive against fused; empty if not asked for.
    forecasts
        Key → what the simulator said before the run; empty without a forecast.
    notes
        What a reader should know, a sentence each.
    stopped
        Whether it was interrupted.
    date, versions
        When it ran, and with what.
    """

    benchmark: Benchmark
    model: str
    device: str
    dtype: str
    cost: str
    results: dict[str, StepResult]
    chains: dict[str, tuple[DecomposeStep, ...]]
    quadrants: tuple[DecomposeStep, ...] = ()
    forecasts: dict[str, StepResult] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stopped: bool = False
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        where = f"simulated with {self.cost}" if self.cost else f"{self.model} on {self.device}"
        return printable(f"<Decomposition of {self.benchmark.name!r}, {where}: {len(self.results)} steps>")

    @property
    def output_tokens(self) -> int:
        """Output tokens of all requests."""
        return int(self.benchmark.columns().output_tokens.sum())

    @property
    def all_tokens(self) -> int:
        """Prompt and output tokens of all requests: what the article counted."""
        return self.output_tokens + self.benchmark.requests * self.benchmark.prompt

    def rates(self, key: str) -> tuple[float, float]:
        """Tokens a second of a step: of outputs alone, and of prompts and outputs together.

        Parameters
        ----------
        key
            Of a step that has a result.

        Returns
        -------
        tuple of float
            Both.
        """
        seconds = self.results[key].seconds
        return self.output_tokens / seconds, self.all_tokens / seconds

    def factors(self, order: str) -> list[Factor]:
        """What each change was worth, in one order; only between neighbours that both have results.

        Parameters
        ----------
        order
            A key of `chains`.

        Returns
        -------
        list of Factor
            In order; the product of all ratios of a complete chain is the same in every order.
        """
        steps, found = self.chains.get(order, ()), []
        longest = int(self.benchmark.columns().output_tokens.max())
        for before, after in itertools.pairwise(steps):
            a, b = self.results.get(before.key), self.results.get(after.key)
            if a is None or b is None:
                continue
            name = factor_name(before, after)
            was, will = self.forecasts.get(before.key), self.forecasts.get(after.key)
            made = self.benchmark
            found.append(
                Factor(
                    name,
                    before.key,
                    after.key,
                    a.seconds / b.seconds,
                    a.low / b.high,
                    a.high / b.low,
                    article_credit(name, before.scheme) if made.name == "article" else None,
                    theory(
                        before.scheme,
                        after.scheme,
                        batch=made.level.batch,
                        prompt=made.prompt,
                        mean=made.mean,
                        cap=made.cap,
                        longest=longest,
                    ),
                    was.seconds / will.seconds if was is not None and will is not None else None,
                )
            )
        return found

    def ranges(self) -> dict[str, tuple[float, float]]:
        """What each factor was worth over the orders, if it was run in all of them.

        Returns
        -------
        dict
            Factor → its least and its greatest worth.
        """
        found: dict[str, list[float]] = {}
        for order in self.chains:
            for factor in self.factors(order):
                found.setdefault(factor.name, []).append(factor.ratio)
        orders = len(self.chains)
        return {name: (min(values), max(values)) for name, values in found.items() if len(values) == orders}

    @property
    def steadiest(self) -> str:
        """Of the orders with most results, the one whose factors were measured with least spread; "" if none."""

        def loose(order: str) -> tuple[int, float]:
            factors = self.factors(order)
            return -len(factors), sum(math.log(factor.high / factor.low) for factor in factors)

        return min(self.chains, key=loose, default="")

    def total(self, order: str) -> float | None:
        """How many times faster the last step of an order is than its first.

        Parameters
        ----------
        order
            A key of `chains`.

        Returns
        -------
        float or None
            None if either has no result.
        """
        steps = self.chains.get(order, ())
        if not steps or any(step.key not in self.results for step in (steps[0], steps[-1])):
            return None
        return self.results[steps[0].key].seconds / self.results[steps[-1].key].seconds

    def waterfall(self, order: str | None = None, language: str | None = None) -> Waterfall:
        """The steps of an order as a picture, each from where the one before it ended.

        Parameters
        ----------
        order
            One of the orders that were run; None takes the first.
        language
            Of names and labels; None takes that of the notebook.

        Returns
        -------
        Waterfall
            A notebook displays it.

        Raises
        ------
        MeasureError
            There is no such order, or nothing to draw.
        """
        spoken = chosen(language)
        asked = next(iter(self.chains), "") if order is None else order
        if asked not in self.chains:
            raise MeasureError(f"the orders that were run are {', '.join(self.chains)}, not {shown(asked)}.")
        falls: list[Fall] = []
        before: DecomposeStep | None = None
        for step in self.chains[asked]:
            result = self.results.get(step.key)
            if result is None:
                continue
            forecast = self.forecasts.get(step.key)
            name = step.scheme if before is None else factor_name(before, step)
            before = step
            falls.append(
                Fall(
                    say(spoken, f"decompose.step.{name}"),
                    self.output_tokens / result.seconds,
                    (self.output_tokens / result.high, self.output_tokens / result.low),
                    None if forecast is None else self.output_tokens / forecast.seconds,
                )
            )
        key = "decompose.title_simulated" if self.cost else "decompose.title"
        facts = {"device": self.device, "model": self.model, "cap": f"{self.benchmark.cap:,}", "cost": self.cost}
        return Waterfall(say(spoken, key, facts), tuple(falls), spoken)

    # ------------------------------------------------------------------------------------------------ for people

    def sentences(self) -> list[Message]:
        """What was found, a sentence each.

        Returns
        -------
        list of Message
            At least one.
        """
        return sentences(self)

    def table(self, order: str | None = None, language: str = FIRST) -> str:
        """One row a step: tokens a second both ways, and what the change was worth by every account.

        Parameters
        ----------
        order
            One of the orders that were run; None takes the first.
        language
            Of the headings.

        Returns
        -------
        str
            Aligned text.
        """
        return table(self, order, language)

    # ------------------------------------------------------------------------------------------------ for programs

    def settings(self) -> dict[str, Any]:
        """What decides the results: two files with the same settings hold steps that may be compared.

        Returns
        -------
        dict
            JSON values.
        """
        return {
            "benchmark": asdict(self.benchmark),
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "cost": self.cost,
        }

    def to_json(self) -> dict[str, Any]:
        """All of it; `cbviz.run.decompose_file` reads it.

        Returns
        -------
        dict
            JSON values.
        """
        return {
            "format": DECOMPOSITION_FORMAT,
            "version": DECOMPOSITION_VERSION,
            "settings": self.settings(),
            "output_tokens": self.output_tokens,
            "prompt_tokens": self.all_tokens - self.output_tokens,
            "results": [asdict(result) for result in self.results.values()],
            "forecasts": [asdict(result) for result in self.forecasts.values()],
            "orders": {order: [step.key for step in steps] for order, steps in self.chains.items()},
            "factors": {order: [asdict(factor) for factor in self.factors(order)] for order in self.chains},
            "ranges": {name: list(both) for name, both in self.ranges().items()},
            "quadrants": [step.key for step in self.quadrants],
            "notes": [str(note) for note in self.notes],
            "stopped": self.stopped,
            "date": self.date,
            "versions": self.versions,
        }

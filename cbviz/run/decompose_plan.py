"""The benchmark behind "23x", and the steps from its slowest entry to a whole engine: what each of them changes.

Anyscale, "How continuous batching enables 23x throughput in LLM inference" (June 2023), with its harness
(github.com/anyscale/llm-continuous-batching-benchmarks): OPT-13B in float16 on an A100-40GB, a burst of 1,000 requests
of 512 prompt tokens, outputs exponential with mean 128 and redrawn above a cap. Every step keeps the work and changes
one thing; a scheme says who runs when in how much memory, and kernels say what computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cbviz.checks import as_int, listed, one_of, shown, whole
from cbviz.errors import MeasureError
from cbviz.limits import MOST_REQUESTS, MOST_SEED
from cbviz.policies import TGI, Orca, Policy, RequestLevel, Static, VllmV0
from cbviz.simulator.work import Work
from cbviz.workload import Workload
from cbviz.workload.lengths import ExponentialTruncated
from cbviz.workload.synthetic import synthetic

KERNELS = ("eager", "graphs", "fused")
"""What computes: kernels launched one by one, the same as CUDA graphs, and graphs whose kernels are fused."""
ATTENTIONS = ("naive", "fused")
"""Whether attention writes its matrix of scores to memory, or keeps it on the chip (FlashAttention)."""
MAX_WAITING_TOKENS, WAITING_SERVED_RATIO = 7, 1.2
"""What the harness gave TGI."""


@dataclass(frozen=True, slots=True)
class Level:
    """What the harness set for one cap on the output length.

    Attributes
    ----------
    batch
        Requests of a static batch. They, each with room for the longest output, fill the memory of all steps.
    quota
        Tokens of TGI's budget, `max_batch_total_tokens`.
    """

    batch: int
    quota: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The work and the memory that all steps share.

    Attributes
    ----------
    name
        A key of `BENCHMARKS`.
    requests
        How many arrive at once.
    prompt
        Tokens of every prompt.
    mean, cap
        Of the output lengths: exponential, redrawn above the cap.
    level
        Batch size and quota.
    block_size
        Positions of a KV block.
    limit
        Seconds after which a run is broken off and its rest is counted instead.
    seed
        Of lengths and prompts.
    """

    name: str
    requests: int
    prompt: int
    mean: int
    cap: int
    level: Level
    block_size: int
    limit: float
    seed: int = 0

    @property
    def law(self) -> ExponentialTruncated:
        """The law of the output lengths."""
        return ExponentialTruncated(self.mean, self.cap)

    @property
    def pool(self) -> int:
        """Tokens of KV memory, the same for all steps but the last scheme: a static batch at its longest."""
        return self.level.batch * (self.prompt + self.cap)

    def columns(self, declared: bool = False) -> Work:
        """The work without tokens; `declared` if every request declares its true length, as the harness did."""
        work = Work.draw(self.requests, self.law, prompt_tokens=self.prompt, seed=self.seed)
        return replace(work, max_new_tokens=work.output_tokens) if declared else work

    def workload(self, vocabulary: int, declared: bool = False) -> Workload:
        """The same work with random prompts for a model."""
        work = synthetic(self.requests, self.law, prompt_tokens=self.prompt, vocabulary=vocabulary, seed=self.seed)
        if not declared:
            return work
        honest = tuple(replace(request, max_new_tokens=request.output_length or 1) for request in work)
        return Workload(work.name, honest, work.seed)


ARTICLE_LEVELS = {32: Level(16, 8_700), 128: Level(12, 7_500), 512: Level(8, 8_100), 1_536: Level(4, 8_100)}
SMALL_LEVELS = {6: Level(6, 178), 24: Level(5, 238), 72: Level(4, 380)}
BENCHMARKS = {
    "article": (ARTICLE_LEVELS, Benchmark("article", 1_000, 512, 128, 1_536, ARTICLE_LEVELS[1_536], 16, 300.0)),
    "small": (SMALL_LEVELS, Benchmark("small", 48, 24, 6, 72, SMALL_LEVELS[72], 8, 3.0)),
}
"""Levels by cap, and the benchmark at its highest. "small", with the article's proportions, takes a minute on a CPU."""


def benchmark_of(
    name: str = "article", *, cap: int | None = None, requests: int | None = None, seed: int = 0,
    limit: float | None = None,
) -> Benchmark:  # fmt: skip
    """A benchmark by name.

    Parameters
    ----------
    name
        "article" or "small".
    cap
        One of its caps on the output length; None takes the highest.
    requests, limit
        As in `Benchmark`; None takes its own.
    seed
        Of lengths and prompts.

    Returns
    -------
    Benchmark
        What all steps share.

    Raises
    ------
    MeasureError
        There is no such benchmark or cap, or a number is out of range.

    Examples
    --------
    >>> from cbviz.run.decompose_plan import benchmark_of
    >>> found = benchmark_of("article", cap=512)
    >>> found.level.batch, found.pool
    (8, 8192)
    """
    levels, made = BENCHMARKS[one_of("the benchmark", name, BENCHMARKS, error=MeasureError)]
    if cap is not None:
        if (named := as_int(cap)) not in levels:
            known = ", ".join(f"{each:,}" for each in levels)
            raise MeasureError(f"the benchmark {shown(name)} has the caps {known}, not {shown(cap)}.")
        made = replace(made, cap=named, level=levels[named])
    if requests is not None:
        made = replace(made, requests=_enough(made, requests))
    if limit is not None:
        made = replace(made, limit=limit)
    return replace(made, seed=whole("seed", seed, 0, MOST_SEED, error=MeasureError))


def _enough(made: Benchmark, requests: int) -> int:
    """The number of requests, if it fills four static batches: the size of a batch follows the cap."""
    batch = made.level.batch
    given = whole("requests", requests, 1, MOST_REQUESTS, error=MeasureError)
    if given < 4 * batch:
        raise MeasureError(
            f"requests must be at least {4 * batch:,} at a cap of {made.cap:,}, four static batches of {batch}, not "
            f"{given:,}."
        )
    return given


@dataclass(frozen=True, slots=True)
class Setup:
    """How a scheme serves a benchmark.

    Attributes
    ----------
    policy
        The scheduler.
    slots, blocks
        Requests that can run at once, and KV blocks.
    declared
        Whether every request declares its true length.
    batches
        Whether it runs batch after batch, so that a measurement can end between two.
    """

    policy: Policy
    slots: int
    blocks: int
    declared: bool
    batches: bool


SERVING_SCHEMES = (
    "dataset_longest",
    "batch_longest",
    "request_level",
    "iteration_level",
    "lengths_declared",
    "tgi",
    "paged",
    "paged_double",
)
"""From the slowest: every batch runs to the longest output of the data set, then to its own; batches form on request;
slots are refilled every iteration, each with room for the longest output; every request declares its true length, as in
the harness; TGI's rule with the budget of padded models; blocks as requests grow (vLLM of 2023), in the same memory;
and in twice the memory, about what vLLM had in the article."""


def setup_of(scheme: str, benchmark: Benchmark) -> Setup:
    """What a scheme means for a benchmark."""
    level, size = benchmark.level, benchmark.block_size
    batch, blocks = level.batch, -(-benchmark.pool // size)
    most = benchmark.pool // benchmark.prompt  # each request holds its prompt at least
    if scheme == "dataset_longest":
        longest = int(benchmark.columns().output_tokens.max())
        return Setup(Static(run_to=longest), batch, blocks, declared=False, batches=True)
    if scheme == "batch_longest":
        return Setup(Static(), batch, blocks, declared=False, batches=True)
    if scheme == "request_level":
        return Setup(RequestLevel(), batch, blocks, declared=False, batches=True)
    if scheme == "iteration_level":
        return Setup(Orca(), batch, blocks, declared=False, batches=False)
    # A reservation that is no multiple of the block size takes a block more.
    if scheme == "lengths_declared":
        return Setup(Orca(), most, blocks, declared=True, batches=False)
    if scheme == "tgi":
        rule = TGI(WAITING_SERVED_RATIO, MAX_WAITING_TOKENS, max_batch_total_tokens=level.quota, padded=True)
        return Setup(rule, most, blocks, declared=True, batches=False)
    times = 2 if scheme == "paged_double" else 1
    return Setup(VllmV0(), times * most, times * blocks, declared=True, batches=False)


@dataclass(frozen=True, slots=True)
class DecomposeStep:
    """One run: a scheme, what computes, and how attention is computed."""

    scheme: str
    kernels: str = "eager"
    attention: str = "fused"

    @property
    def key(self) -> str:
        """Its name in results, such as "paged/graphs"."""
        return "/".join((self.scheme, self.kernels, *(["naive"] if self.attention == "naive" else [])))

    @staticmethod
    def of(key: str) -> DecomposeStep:
        """The step of a key. Raises MeasureError for one that is none."""
        parts = key.split("/") if isinstance(key, str) else []
        if not 2 <= len(parts) <= 3 or parts[2:] not in ([], ["naive"]):
            raise MeasureError(f"a step is written SCHEME/KERNELS, such as paged/fused, not {shown(key)}.")
        scheme = one_of("the scheme of a step", parts[0], SERVING_SCHEMES, error=MeasureError)
        kernels = one_of("the kernels of a step", parts[1], KERNELS, error=MeasureError)
        if parts[2:] and kernels != "eager":
            raise MeasureError("attention can be naive only in eager kernels; write SCHEME/eager/naive.")
        return DecomposeStep(scheme, kernels, "naive" if parts[2:] else "fused")


ORDERS = ("schedule_first", "kernels_first")
"""Two ways through the same factors: the schedule and then the kernels, as the article tells it, or the reverse."""
QUADRANTS = (("batch_longest", "eager"), ("batch_longest", "fused"), ("paged", "eager"), ("paged", "fused"))
"""The 2 × 2 of scheduler and kernels: FasterTransformer changed the second, Orca and vLLM the first."""


def chain(order: str, names: Sequence[str]) -> tuple[DecomposeStep, ...]:
    """The steps of an order, the baseline first.

    Parameters
    ----------
    order
        One of `ORDERS`.
    names
        Schemes and kernels to pass through; `checked_names` has made sense of them.

    Returns
    -------
    tuple of DecomposeStep
        Each differs from the one before it in one thing.
    """
    schemes = [name for name in SERVING_SCHEMES if name in names]
    kernels = [name for name in KERNELS if name in names]
    if order == "schedule_first":
        return tuple(DecomposeStep(name, kernels[0]) for name in schemes) + tuple(
            DecomposeStep(schemes[-1], k) for k in kernels[1:]
        )
    return tuple(DecomposeStep(schemes[0], k) for k in kernels) + tuple(
        DecomposeStep(name, kernels[-1]) for name in schemes[1:]
    )


def factor_name(before: DecomposeStep, after: DecomposeStep) -> str:
    """What changed between two neighbouring steps of a chain: a scheme or kernels."""
    return after.scheme if after.scheme != before.scheme else after.kernels


def checked_names(names: Sequence[str] | None) -> tuple[str, ...]:
    """The schemes and kernels that were asked for, in their order; None asks for all.

    Raises
    ------
    MeasureError
        One is unknown or given twice, or they leave nothing to compare.
    """
    if names is None:
        return (*SERVING_SCHEMES, *KERNELS)
    given = listed("steps", names, "names", error=MeasureError)
    for name in given:
        one_of("a step", name, (*SERVING_SCHEMES, *KERNELS), error=MeasureError)
    if len(set(given)) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise MeasureError(f"the step {twice!r} is given twice.")
    if not set(given) & set(KERNELS):
        given = [*given, KERNELS[0]]
    if not set(given) & set(SERVING_SCHEMES):
        given = [SERVING_SCHEMES[0], *given]
    found = tuple(name for name in (*SERVING_SCHEMES, *KERNELS) if name in given)
    if len(found) < 3:
        raise MeasureError("at least two steps are needed: what they differ in is the result.")
    return found

"""The race: the same requests and the same model under different policies, side by side.

There are two kinds of clock, and the result says which it uses. *Lane* clocks: the lanes take turns on one device, the
lane whose clock is behind runs next, and each clock advances only by the measured duration of its own iterations. A
live board shows these. *Alone*: every lane runs undisturbed, several times. Reported speed-ups come from these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from cbviz.checks import counted, flag, is_whole, one_of, shown, whole
from cbviz.config import KVOptions, Preemption, Speculation
from cbviz.errors import CapacityError, CbvizError, PolicyError, WorkloadError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_EXACT, MOST_REPEATS
from cbviz.measure.standings import Compare
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import Policy, fresh, get
from cbviz.run.live import in_notebook, watched
from cbviz.run.model_workload import choose_workload
from cbviz.run.progress import Progress, progress_of
from cbviz.run.race_run import Race as Race
from cbviz.view.cell import CELLS, attended
from cbviz.workload import Workload
from cbviz.workload.prompts import Prompt

MOST_LANES = 4
Speculate = int | Speculation | None
"""How a lane drafts tokens: how many at most, or a rule; None or 0 drafts none."""
Start = Literal["now", "button"]
"""When a live race starts."""
REPEATS = 3
"""Timed runs of every lane of a race without a live board."""
ENOUGH = 120.0
"""Seconds of timed runs after which a race with the default number of repeats starts no more."""


def race(
    model: str | LoadedModel = "tiny",
    policies: Sequence[str | Policy] = ("static", "continuous"),
    *,
    slots: int = 8,
    requests: int | None = None,
    workload: Workload | None = None,
    prompts: Sequence[str | Prompt] | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    weights: str | None = None,
    repeats: int | None = None,
    block_size: int = 16,
    kv_blocks: int | None = None,
    kv_tokens: int | None = None,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    swap_blocks: int | None = None,
    max_new_tokens: int | None = None,
    backend: str | None = None,
    ignore_generation_config: bool = False,
    speculate: Speculate | Sequence[Speculate] = None,
    live: bool | None = None,
    language: str | None = None,
    progress: Progress | None = None,
    compare: Compare = "iterations",
    start: Start = "now",
    run: bool = True,
) -> Race:
    """Serve the same requests under several policies and compare them.

    Parameters
    ----------
    model
        "tiny", "smollm2-135m", "random:llama-3.1-8b", a Hugging Face id or folder, or a model from `cbviz.models.load`.
    policies
        One to four names or policy objects. The result ranks them; `Race.speedup` compares the first with the last.
        Every run of a lane, including the warm-up, starts from a fresh copy of its policy (see
        `cbviz.policies.Policy`).
    slots
        Requests that can run at the same time in each lane.
    requests
        How many requests to draw; None means the workload's usual number.
    workload, prompts
        Your own requests, or your own prompts. By default tiny gets tasks, chat models get questions, and random
        weights get random prompts with forced lengths.
    seed
        Seed of the workload.
    device, dtype
        Where to run and in which precision; by default a usable GPU (in bfloat16, or float16 if it has no bfloat16
        arithmetic), else the CPU in float32.
    weights
        "int8" stores each of the model's weights in one byte (see `cbviz.models.int8`).
    repeats
        Undisturbed timed runs of every lane; 0 runs the lanes in turn once and reports lane clocks. None means 0 for a
        live race, else 3, or fewer if they would take minutes.
    block_size, kv_blocks
        Each lane's KV pool; by default every slot can hold the longest request.
    kv_tokens
        The KV pool in tokens instead of blocks, rounded down to whole blocks, so that schedulers with different block
        sizes compete with equal memory.
    prefix_cache, preemption, swap_blocks
        Options for each lane's KV memory (see `cbviz.core.KVOptions`).
    max_new_tokens
        The most tokens an answer may have; None means the workload's limit.
    backend
        What computes: "sdpa" (eager passes, anywhere) or "graphs" (CUDA graphs; on a CPU the same passes uncaptured).
        None takes "graphs" on a GPU that can capture the model, else "sdpa" (see `cbviz.config.EngineConfig`).
    ignore_generation_config
        Ignore the logit settings of the model's generation config (a repetition penalty, suppressed tokens). By
        default each is honoured as `generate` does it, or refused by name.
    speculate
        Draft up to so many tokens of a decoding request in a pass, copied from where its last tokens came before, and
        check them in that pass (see `cbviz.config.Speculation`); answers stay the same. A list has an entry for each
        lane, so that `policies=["continuous"] * 2, speculate=[0, 4]` races with and without. Needs the backend "sdpa".
    live
        True returns at once and runs in a thread, with a live board to watch and control it. False runs to the end
        before it returns. None means live in a notebook.
    language
        The board's language, "en" or "zh"; None means the one set by `cbviz.view.language.speak`, initially English.
    progress
        Receives progress reports; None reports nothing.
    compare
        What the result compares: "iterations", "seconds", "longest_gap" (between two tokens of an answer) or "ttft"
        (from a request's arrival to its first token). All but seconds are counted, in iterations.
    start
        "button" lets a live race wait behind the Start button of its board. Enter and Space on the board start it too,
        and so does whatever needs the result. A race without a live board starts now, and so does one in a notebook
        that runs without a front end.
    run
        False returns the race before its first iteration, so that the caller can keep a reference to it while it runs:
        call `run()`, or `start()` and `wait()`.

    Returns
    -------
    Race
        Running if live, else ended; not started if `run` is False or it waits for its Start.

    Raises
    ------
    CbvizError
        An argument is invalid or no lane could serve the workload: one sentence, before the first iteration.

    Examples
    --------
    >>> result = race("tiny", ["static", "continuous"], slots=2, requests=6, repeats=0, dtype="float32", device="cpu")
    >>> result.identical_outputs
    True
    >>> [(lane.policy, lane.iterations) for lane in result.lanes]
    [('static', 140), ('continuous', 113)]
    """
    if isinstance(policies, str) or not isinstance(policies, Sequence) or not 1 <= len(policies) <= MOST_LANES:
        given = f"{len(policies)} of them" if isinstance(policies, list | tuple) else shown(policies)
        raise PolicyError(f"a race takes a list of 1 to {MOST_LANES} policies, not {given}.")
    chosen = [fresh(get(policy)) for policy in policies]
    if repeats is not None:
        whole("repeats", repeats, 0, MOST_REPEATS, error=CbvizError)
    live = in_notebook() if live is None else flag("live", live)
    flag("ignore_generation_config", ignore_generation_config)
    flag("run", run)
    one_of("start", start, get_args(Start), error=CbvizError)
    if live:
        CELLS.begin()
    if workload is not None and not isinstance(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    if workload is not None and prompts is not None:
        raise WorkloadError("pass a workload or prompts, not both.")
    if workload is not None:
        for name, value in (("requests", requests), ("max_new_tokens", max_new_tokens), ("seed", seed or None)):
            if value is not None:
                raise WorkloadError(
                    f"{name}={value} is for requests that are drawn; workload has its own, so leave it out."
                )
    loaded = as_loaded(model, device=device, dtype=dtype, weights=weights)
    if workload is None:
        workload = choose_workload(loaded, requests=requests, prompts=prompts, seed=seed, max_new_tokens=max_new_tokens)
    made = Race(
        loaded,
        chosen,
        workload,
        slots=slots,
        block_size=block_size,
        kv_blocks=_quota(kv_blocks, kv_tokens, block_size),
        repeats=(0 if live else REPEATS) if repeats is None else repeats,
        enough=ENOUGH if repeats is None else None,
        progress=progress_of(progress),
        watched=live,
        language=language,
        kv=KVOptions(prefix_cache, preemption, swap_blocks),
        backend=backend,
        ignore_generation_config=ignore_generation_config,
        compare=compare,
        speculations=_speculations(speculate, len(chosen)),
    )
    made.shows_answers = prompts is not None
    made.prepare()
    if live:
        watched(made, made.language)
    if not run:
        return made
    if live and start == "button" and attended():
        made.awaits_start = True
        return made
    return made.start() if live else made.run()


def _speculations(given: object, lanes: int) -> tuple[Speculation | None, ...]:
    """One rule for each lane."""
    rules: list[Any] = list(given) if isinstance(given, list | tuple) else [given] * lanes
    if len(rules) != lanes:
        raise CbvizError(
            f"speculate has {counted(len(rules), 'number')} for {counted(lanes, 'lane')}; give one, or one each."
        )
    return tuple(map(Speculation.of, rules))


def _quota(kv_blocks: int | None, kv_tokens: int | None, block_size: int) -> int | None:
    """KV blocks of a pool whose size the caller gives in blocks or in tokens."""
    if kv_tokens is None:
        return kv_blocks
    if kv_blocks is not None:
        raise CapacityError("set the size of the KV pool by kv_blocks or by kv_tokens, not by both.")
    size = whole("block_size", block_size, 1, MOST_BLOCK_SIZE, error=CapacityError)
    if not is_whole(kv_tokens) or not size <= kv_tokens <= MOST_EXACT:
        bounds = f"from {size:,}, one KV block, to {MOST_EXACT:,}"
        raise CapacityError(f"kv_tokens must be a whole number {bounds}, not {shown(kv_tokens)}.")
    return kv_tokens // block_size

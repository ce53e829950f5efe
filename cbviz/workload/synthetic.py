"""Workloads of random tokens, to measure speed: the lengths matter, the text does not."""

from __future__ import annotations

import random

from cbviz.checks import counted, shown
from cbviz.errors import WorkloadError
from cbviz.messages import Message
from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess
from cbviz.workload.checks import BEYOND_INT32, MOST_TOKENS, amount, fits, truth, whole
from cbviz.workload.lengths import ExponentialClipped, LengthLaw, as_law
from cbviz.workload.request import ArrivalUnit, Request, Workload

FIRST_TOKEN = 3
"""Random prompts use ids from here on: in most vocabularies 0, 1 and 2 mean padding, beginning and end."""

DEFAULT_ARRIVALS = AllAtOnce()


def synthetic(
    requests: int,
    lengths: LengthLaw | int,
    arrivals: ArrivalProcess = DEFAULT_ARRIVALS,
    *,
    prompt_tokens: LengthLaw | int,
    vocabulary: int,
    seed: int = 0,
    forced: bool = True,
    arrival_unit: ArrivalUnit = "seconds",
) -> Workload:
    """Draw a workload of random-token prompts.

    Lengths, arrivals and prompts come from three independent streams of the seed, so changing one law leaves the draws
    of the others unchanged.

    Parameters
    ----------
    requests
        How many, at least 1.
    lengths
        Law of output lengths in tokens, or one length for all.
    arrivals
        When requests arrive.
    prompt_tokens
        Law of prompt lengths in tokens, or one length for all.
    vocabulary
        Size of the model's vocabulary; ids are drawn uniformly from 3 to vocabulary − 1.
    seed
        The same seed draws the same workload on every machine.
    forced
        True makes every output exactly as long as drawn, ignoring END. A request then declares the law's longest length
        as max_new_tokens, so that a scheduler cannot read the true length there. False lets the model end its output,
        and the drawn length becomes max_new_tokens.
    arrival_unit
        Whether arrivals count seconds or iterations.

    Returns
    -------
    Workload
        The requests, numbered from 0 in order of arrival.

    Raises
    ------
    WorkloadError
        A number is out of range, or a law or process is not one.

    Examples
    --------
    >>> from cbviz.workload import ExponentialClipped, synthetic
    >>> workload = synthetic(4, ExponentialClipped(mean=8, cap=32), prompt_tokens=16, vocabulary=1000)
    >>> [request.output_length for request in workload]
    [15, 11, 4, 2]
    >>> {request.max_new_tokens for request in workload}
    {32}
    """
    n = amount("the number of requests", requests)
    seed = whole("a seed", seed, 0, below=2**63)
    vocabulary = whole("the size of the vocabulary", vocabulary, below=BEYOND_INT32)
    truth("forced", forced)
    if vocabulary <= FIRST_TOKEN:
        raise WorkloadError(
            f"a vocabulary of {vocabulary} is too small: random prompts use ids of at least {FIRST_TOKEN}."
        )
    if not fits(arrivals, ArrivalProcess):
        raise WorkloadError(f"arrivals must be a process, such as AllAtOnce() or Poisson(4), not {shown(arrivals)}.")
    law, prompt_law = as_law(lengths), as_law(prompt_tokens)

    output_lengths = law.draw(random.Random(seed), n)
    times = arrivals.times(random.Random(f"{seed} arrivals"), n)
    rng = random.Random(f"{seed} prompts")
    prompt_lengths = prompt_law.draw(rng, n)
    if sum(prompt_lengths) > MOST_TOKENS:
        raise WorkloadError(
            f"{counted(n, 'request')} with prompt_tokens of up to {max(prompt_lengths):,} need "
            f"{sum(prompt_lengths):,} random tokens, and at most {MOST_TOKENS:,} are drawn; ask for fewer requests or "
            "shorter prompts."
        )
    prompts = [tuple(rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(length)) for length in prompt_lengths]
    return Workload(
        name=f"random tokens; outputs {law.describe()}; prompts {prompt_law.describe()}; {arrivals.describe()}",
        requests=tuple(
            Request(
                id=i,
                prompt=prompt,
                max_new_tokens=law.longest if forced else length,
                arrival=time,
                output_length=length if forced else None,
            )
            for i, (prompt, length, time) in enumerate(zip(prompts, output_lengths, times, strict=True))
        ),
        seed=seed,
        arrival_unit=arrival_unit,
    )


def yardstick(requests: int, seed: int = 0) -> Workload:
    """Draw the workload on which engines are timed, so that figures of different engines can be compared.

    All requests arrive at 0, with 128 prompt tokens each: uniform ids from 3 to 127,999 (for Llama-3's vocabulary of
    128,256). Output lengths are exponential with mean 128, rounded, clipped to 1..512 and forced; decoding is greedy.
    There are two standard sizes: 128 requests on 32 slots and 512 requests on 128 slots.

    The ids come from torch's generator, as in the scripts that timed the other engines. Nothing else in this module
    imports torch.

    Parameters
    ----------
    requests
        How many, at least 1.
    seed
        The same seed draws the same workload.

    Returns
    -------
    Workload
        The requests, numbered from 0.

    Raises
    ------
    WorkloadError
        A number is out of range.
    """
    import torch

    n = amount("the number of requests", requests)
    seed = whole("a seed", seed, 0, below=2**63)
    lengths = ExponentialClipped(mean=128, cap=512)
    ids = torch.Generator().manual_seed(seed)
    return Workload(
        name=Message("workload.yardstick", n=n),
        requests=tuple(
            Request(
                id=i,
                prompt=tuple(torch.randint(3, 128_000, (128,), generator=ids).tolist()),
                max_new_tokens=lengths.cap,
                output_length=length,
            )
            for i, length in enumerate(lengths.draw(random.Random(seed), n))
        ),
        seed=seed,
    )

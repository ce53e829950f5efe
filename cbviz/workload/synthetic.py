"""Workloads of random tokens: the lengths matter, the text does not. For measurements of speed."""

from __future__ import annotations

import random

from cbviz.errors import WorkloadError
from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess
from cbviz.workload.checks import BEYOND_INT32, amount, fits, shown, truth, whole
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

    Lengths, arrivals and prompts come from three streams of the seed: changing one law leaves the draws of the others
    as they were.

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
        True makes every output exactly as long as drawn: END is ignored. A request then declares the law's longest
        length as max_new_tokens, so that no scheduler can read its true length from there. False lets the model end
        where it likes, and the drawn length becomes max_new_tokens.
    arrival_unit
        Whether arrivals count seconds or iterations.

    Raises
    ------
    WorkloadError
        A number of requests, a law, a vocabulary or a seed that makes no sense.
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
    prompts = [
        tuple(rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(length)) for length in prompt_law.draw(rng, n)
    ]
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
    """Draw the workload that engines are timed on, so that figures of different engines can be compared.

    All wait at 0; 128 prompt tokens each, uniform ids from 3 to 127,999 (for Llama-3's vocabulary of 128,256); output
    lengths exponential with mean 128, rounded, clipped to 1..512 and forced; greedy. Two standard sizes: 128 requests
    on 32 slots and 512 requests on 128 slots.

    The ids come from torch's generator, as in the scripts that timed the other engines; torch is imported here only.
    Raises WorkloadError if the number of requests or the seed makes no sense.
    """
    import torch

    n = amount("the number of requests", requests)
    seed = whole("a seed", seed, 0, below=2**63)
    lengths = ExponentialClipped(mean=128, cap=512)
    ids = torch.Generator().manual_seed(seed)
    return Workload(
        name=f"yardstick of {n} requests",
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

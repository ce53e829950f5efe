"""The effect of int8 weights: bytes, room for KV tokens, the time of a step, and the answers.

    python benchmarks/int8.py --json FILE
    python benchmarks/int8.py --model random:llama-3.1-8b --slots 1 --slots 32

They halve (from 16 bits) or quarter (from 32) the bytes of the layers and leave the KV cache as it is: the memory that
they free holds more tokens. Whether a step gets faster depends on the kernels: it reads fewer bytes, but the weights
must be turned back. On a CPU it usually gets slower. And answers change, for the weights do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from result_file import write

from cbviz.errors import ModelError
from cbviz.measure.compare import find_divergences
from cbviz.models import LoadedModel, load, quantised
from cbviz.run.bench import BenchResult, bench
from cbviz.run.bench_work import named_workload, suitable
from cbviz.run.progress import Progress
from cbviz.run.rates import measured_rates
from cbviz.trace import Trace
from cbviz.workload import Workload


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the answers of quantised weights differ from those of the model as it was; both greedy.

    Attributes
    ----------
    requests, identical
        Answers compared, and those that are the same token by token.
    tokens, before_parting
        Output tokens of the model as it was, and those before the two answers part.
    next_token
        Share of positions at which the quantised model, reading the other's answer, would have gone on with the same
        token: the difference of the models without the drift of one early parting.
    partings
        Request → position of the first token that differs.
    """

    requests: int
    identical: int
    tokens: int
    before_parting: int
    next_token: float
    partings: dict[int, int]


@dataclass(frozen=True, slots=True)
class Int8Result:
    """A model as it is loaded, and with int8 weights. Print it.

    Attributes
    ----------
    plain, int8
        The benchmark of each, on the same work.
    weight_bytes
        Of each.
    kv_bytes_per_token
        Of both.
    step_seconds
        Median of the iterations that only decode, with every slot taken where there are such, of each.
    agreement
        None for random weights: what they answer means nothing.
    """

    plain: BenchResult
    int8: BenchResult
    weight_bytes: tuple[int, int]
    kv_bytes_per_token: int
    step_seconds: tuple[float, float]
    agreement: Agreement | None

    @property
    def kv_tokens_gained(self) -> int:
        """Tokens of KV cache that the freed memory holds."""
        return (self.weight_bytes[0] - self.weight_bytes[1]) // self.kv_bytes_per_token

    def __str__(self) -> str:
        before, after = self.weight_bytes
        slow, fast = self.step_seconds
        lines = [
            f"{self.plain.model} on {self.plain.device}, {self.plain.slots} slots: {self.plain.dtype} → int8 weights",
            f"weights       {before / 1e6:,.1f} MB → {after / 1e6:,.1f} MB ({after / before:.0%})",
            f"KV cache      room for {self.kv_tokens_gained:,} more tokens in the same memory "
            f"({self.kv_bytes_per_token:,} bytes a token, as before)",
            f"decode step   {slow * 1e3:.3f} ms → {fast * 1e3:.3f} ms ({fast / slow:.2f} times)",
            f"throughput    {self.plain.tokens_per_second:,.0f} → {self.int8.tokens_per_second:,.0f} output tokens/s",
        ]
        if self.agreement is None:
            return "\n".join([*lines, "answers       not compared: weights are random"])
        a = self.agreement
        return "\n".join(
            [
                *lines,
                f"answers       {a.identical} of {a.requests} identical; {a.before_parting:,} of {a.tokens:,} tokens "
                "come before the answers part",
                f"next token    the same at {a.next_token:.2%} of positions, reading the same text",
            ]
        )

    __repr__ = __str__

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        a = self.agreement
        return {
            "model": self.plain.model,
            "device": self.plain.device,
            "dtype": self.plain.dtype,
            "slots": self.plain.slots,
            "workload": self.plain.workload,
            "weight_bytes": list(self.weight_bytes),
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "kv_tokens_gained": self.kv_tokens_gained,
            "step_seconds": list(self.step_seconds),
            "tokens_per_second": [self.plain.tokens_per_second, self.int8.tokens_per_second],
            "runs": [list(self.plain.runs), list(self.int8.runs)],
            "agreement": None
            if a is None
            else {
                "requests": a.requests,
                "identical": a.identical,
                "tokens": a.tokens,
                "before_parting": a.before_parting,
                "next_token": a.next_token,
                "partings": {str(request): place for request, place in a.partings.items()},
            },
        }


def int8(
    model: str = "tiny",
    *,
    requests: int | None = None,
    slots: int | None = None,
    repeats: int = 3,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    graphs: bool | None = None,
    compiled: bool = True,
    progress: Progress | None = None,
) -> Int8Result:
    """Serve the same work with a model as it is, and with its weights in int8; measure memory, time and answers.

    Parameters
    ----------
    model
        A name for `cbviz.models.load`.
    requests, seed
        Of the workload that suits the model.
    slots, repeats, device, dtype, graphs, compiled, progress
        As for `cbviz.run.bench.bench`.

    Raises
    ------
    CbvizError
        Anything that makes no sense, or that does not fit, in one sentence; torchao is missing.
    """
    if not isinstance(model, str):
        raise ModelError("int8 compares a model that it loads itself, by name: quantising changes it for good.")
    loaded = load(model, device=device, dtype=dtype, progress=False)
    work = named_workload(suitable(loaded), loaded, requests=requests, seed=seed)
    rates = measured_rates(loaded.device, loaded.dtype)

    def run(with_weights: LoadedModel) -> BenchResult:
        return bench(
            with_weights,
            workload=work,
            slots=slots,
            repeats=repeats,
            graphs=graphs,
            compiled=compiled,
            profile=False,
            rates=rates,
            progress=progress,
        )

    before, plain = loaded.weight_bytes, run(loaded)
    torch.compiler.reset()
    changed = quantised(loaded)
    after = run(changed)
    readable = loaded.tokenizer is not None
    return Int8Result(
        plain=plain,
        int8=after,
        weight_bytes=(before, changed.weight_bytes),
        kv_bytes_per_token=changed.kv_bytes_per_token,
        step_seconds=(step_seconds(plain.trace), step_seconds(after.trace)),
        agreement=agreement(changed, work, plain.trace, after.trace) if readable else None,
    )


def step_seconds(trace: Trace) -> float:
    """Median seconds of the iterations that only decode, in the fullest of which as many rows ran."""
    it = trace.iterations
    decoding = it.decode_slots * (it.prefill_slots + it.recompute_slots + it.held_slots == 0)
    full = decoding == decoding.max(initial=0)
    return float(median((it.t_end - it.t_start)[full]))


def agreement(loaded: LoadedModel, work: Workload, plain: Trace, other: Trace) -> Agreement:
    """Compare the answers of two runs, and what the loaded model would have said along the first one's."""
    parted = {place.request: place.position for place in find_divergences(plain, other)}
    answers = dict(zip(plain.requests.id.tolist(), plain.requests.tokens, strict=True))
    tokens = sum(map(len, answers.values()))
    lost = sum(len(answers[request]) - place for request, place in parted.items())
    same = sum(_followed(loaded, request.prompt, answers[request.id]) for request in work)
    return Agreement(len(answers), len(answers) - len(parted), tokens, tokens - lost, same / tokens, parted)


@torch.inference_mode()
def _followed(loaded: LoadedModel, prompt: Sequence[int], answer: Sequence[int]) -> int:
    """At how many positions of an answer the model, having read what comes before, prefers the very token there."""
    if not answer:
        return 0
    ids = torch.tensor([[*prompt, *answer[:-1]]], device=loaded.device)
    logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]
    chosen = logits[len(prompt) - 1 :].argmax(-1).cpu().numpy()
    return int(np.count_nonzero(chosen == np.array(answer)))


MODELS = ("tiny", "smollm2-135m")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"may be given several times ({', '.join(MODELS)})")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--slots", type=int, action="append", help="may be given several times")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-graphs", action="store_true", help="eager passes, no CUDA graphs")
    parser.add_argument("--no-compile", action="store_true", help="CUDA graphs without torch.compile")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    found = []
    for model in options.model or MODELS:
        for slots in options.slots or [None]:
            result = int8(
                model,
                requests=options.requests,
                slots=slots,
                repeats=options.repeats,
                device=options.device,
                dtype=options.dtype,
                graphs=False if options.no_graphs else None,
                compiled=not options.no_compile,
            )
            print(f"{result}\n", flush=True)
            found.append(result.to_json())
            if options.json:
                write(options.json, __file__, argv, models=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

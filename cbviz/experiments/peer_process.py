"""One peer in a process of its own: `python -m cbviz.experiments.peer_process NAME`, the job as JSON on standard input.

What is not timed: loading, and a first pass that warms up and captures graphs where there are any.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig
from transformers.generation.continuous_batching.utils import WorkloadHints
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from cbviz.engine.logit_rules import LogitRules
from cbviz.errors import CbvizError
from cbviz.experiments.peers import PeerJob
from cbviz.models import LoadedModel, load

Told = dict[str, Any]
NO_END = -1
PATIENCE = 300.0
"""Seconds without any finished request after which continuous batching is given up."""


def wanted(output: list[int], most: int, ends: tuple[int, ...]) -> int:
    """Output tokens that a request asked for: up to its END, that one included, and at most `most`."""
    for i, token in enumerate(output[:most]):
        if token in ends:
            return i + 1
    return min(most, len(output))


@torch.inference_mode()
def static(loaded: LoadedModel, job: PeerJob) -> Told:
    """Batches of `slots` requests in their order, padded on the left, each run to its longest output."""
    ends = () if job.forced else loaded.end_tokens

    def batch(begin: int, most: int | None = None) -> int:
        rows = range(begin, min(begin + job.slots, len(job.prompts)))
        longest = most or max(job.most[i] for i in rows)
        width = max(len(job.prompts[i]) for i in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(rows):
            ids[row, width - len(job.prompts[i]) :] = torch.tensor(job.prompts[i])
            mask[row, width - len(job.prompts[i]) :] = 1
        output = loaded.model.generate(
            ids.to(loaded.device),
            attention_mask=mask.to(loaded.device),
            generation_config=GenerationConfig(
                max_new_tokens=longest,
                min_new_tokens=longest if job.forced else None,
                do_sample=False,
                eos_token_id=list(ends) or None,
                pad_token_id=0,
            ),
        )
        answers = output[:, width:].tolist()  # waits for the device
        return sum(wanted(answer, job.most[i], ends) for answer, i in zip(answers, rows, strict=True))

    def everything() -> int:
        return sum(batch(begin) for begin in range(0, len(job.prompts), job.slots))

    batch(0, most=8)
    return timed(everything, job.repeats)


def continuous(loaded: LoadedModel, job: PeerJob) -> Told:
    """transformers' continuous batching, as installed, with CUDA graphs on a GPU."""
    model = loaded.model
    # The name of its attention without extra packages, before and since transformers 5.2x.
    paged = "paged|sdpa" in ALL_ATTENTION_FUNCTIONS.valid_keys()
    model.set_attn_implementation("paged|sdpa" if paged else "sdpa")
    longest = max(len(prompt) + most for prompt, most in zip(job.prompts, job.most, strict=True))
    # On a GPU it sizes its cache itself; on a CPU it would take most of the memory.
    cuda = loaded.device.type == "cuda"
    room: Told = {"max_memory_percent": 0.6} if cuda else {"num_blocks": (job.slots + 1) * (longest // 256 + 2)}
    ends = [NO_END] if job.forced else list(loaded.end_tokens)
    config = ContinuousBatchingConfig(
        max_batch_tokens=8192 if cuda else 512,
        max_requests_per_batch=job.slots,
        allow_block_sharing=False,
        use_cuda_graph=cuda,
        **room,
    )
    hints = WorkloadHints(max(map(len, job.prompts)), max(job.most), len(job.prompts))
    generation = GenerationConfig(
        do_sample=False,
        eos_token_id=ends,
        max_new_tokens=max(job.most),
        pad_token_id=0,
        **_rules(loaded),
    )
    with model.continuous_batching_context_manager(
        generation_config=generation, continuous_batching_config=config, workload_hints=hints
    ) as manager:

        def everything() -> int:
            for prompt, most in zip(job.prompts, job.most, strict=True):
                manager.add_request(input_ids=list(prompt), max_new_tokens=most, eos_token_id=ends)
            done = tokens = 0
            heard = monotonic()
            while done < len(job.prompts):
                result = manager.get_result(timeout=1)
                if result is not None and result.error:
                    raise CbvizError(f"transformers' continuous batching failed: {result.error}")
                if result is not None and result.is_finished():
                    done, tokens, heard = done + 1, tokens + len(result.generated_tokens), monotonic()
                elif not manager.is_running() or monotonic() - heard > PATIENCE:
                    raise CbvizError(f"transformers' continuous batching stopped after {done} requests.")
            return tokens

        everything()
        return timed(everything, job.repeats)


def _rules(loaded: LoadedModel) -> Told:
    """What the model's generation config does to logits: this way to generate does not look there."""
    chosen = LogitRules.of(loaded.model).chosen()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def timed(everything: Callable[[], int], repeats: int) -> Told:
    """Serve the work `repeats` times; seconds of each, and tokens that were asked for."""
    runs, tokens = [], 0
    for _ in range(repeats):
        began = perf_counter()
        tokens = everything()
        runs.append(perf_counter() - began)
    return {"runs": runs, "output_tokens": tokens}


def main(name: str) -> int:
    job = PeerJob(**json.load(sys.stdin))
    try:
        loaded = load(job.model, device=job.device, dtype=job.dtype, progress=False)
        if job.ignore_generation_config:
            loaded.model.generation_config = GenerationConfig(eos_token_id=list(loaded.end_tokens) or None)
        told = (static if name == "transformers-static" else continuous)(loaded, job)
        if job.forced and told["output_tokens"] != sum(job.most):
            raise CbvizError(f"it gave {told['output_tokens']:,} of the {sum(job.most):,} tokens that were asked for.")
    except (CbvizError, torch.OutOfMemoryError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

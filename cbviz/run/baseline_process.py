"""One peer in its own process: `python -m cbviz.run.baseline_process NAME`, with the job as JSON on standard input.

Loading is not timed, nor is a first pass that warms up and captures graphs if the engine uses them.
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

from cbviz.eager.logit_rules import LogitRules
from cbviz.errors import CbvizError
from cbviz.models import LoadedModel, load
from cbviz.run.baselines import PeerJob

Found = dict[str, Any]
NO_END = -1
SECONDS_OF_SILENCE = 300.0
"""Seconds without a finished request after which we give up on continuous batching."""


def wanted(output: list[int], most: int, ends: tuple[int, ...]) -> int:
    """Number of output tokens the request asked for: up to and including END, at most `most`."""
    for i, token in enumerate(output[:most]):
        if token in ends:
            return i + 1
    return min(most, len(output))


@torch.inference_mode()
def static(loaded: LoadedModel, job: PeerJob) -> Found:
    """Batches of `slots` requests in order, padded on the left; each batch runs to its longest output."""
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


def continuous(loaded: LoadedModel, job: PeerJob) -> Found:
    """transformers' continuous batching, as installed, with CUDA graphs on a GPU."""
    model = loaded.model
    # The attention that needs no extra packages is called one thing before transformers 5.2x and another since.
    paged = "paged|sdpa" in ALL_ATTENTION_FUNCTIONS.valid_keys()
    model.set_attn_implementation("paged|sdpa" if paged else "sdpa")
    longest = max(len(prompt) + most for prompt, most in zip(job.prompts, job.most, strict=True))
    # On a GPU it sizes its own cache; on a CPU it would take most of the memory.
    cuda = loaded.device.type == "cuda"
    room: Found = {"max_memory_percent": 0.6} if cuda else {"num_blocks": (job.slots + 1) * (longest // 256 + 2)}
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
                elif not manager.is_running() or monotonic() - heard > SECONDS_OF_SILENCE:
                    raise CbvizError(f"transformers' continuous batching stopped after {done} requests.")
            return tokens

        everything()
        return timed(everything, job.repeats)


def _rules(loaded: LoadedModel) -> Found:
    """The generation config's logit settings: continuous batching does not read them from the model."""
    chosen = LogitRules.of(loaded.model).chosen()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def timed(everything: Callable[[], int], repeats: int) -> Found:
    """Serve the work `repeats` times; returns the seconds of each run and the tokens of the last."""
    runs, tokens = [], 0
    for _ in range(repeats):
        began = perf_counter()
        tokens = everything()
        runs.append(perf_counter() - began)
    return {"runs": runs, "output_tokens": tokens}


def main(name: str) -> int:
    """Run the named peer on the job from standard input; returns the exit code and prints the result as JSON."""
    job = PeerJob(**json.load(sys.stdin))
    try:
        loaded = load(job.model, device=job.device, dtype=job.dtype, progress=False)
        if job.ignore_generation_config:
            loaded.model.generation_config = GenerationConfig(eos_token_id=list(loaded.end_tokens) or None)
        found = (static if name == "transformers-static" else continuous)(loaded, job)
        if job.forced and found["output_tokens"] != sum(job.most):
            raise CbvizError(f"it gave {found['output_tokens']:,} of the {sum(job.most):,} tokens requested.")
    except (CbvizError, torch.OutOfMemoryError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

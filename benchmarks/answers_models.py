"""Are answers right for every kind of model on this device? Small random models, raced and compared with generate.

    python benchmarks/answers_models.py --json FILE          # all models, float32 and bfloat16, a GPU if there is one
    python benchmarks/answers_models.py llama gpt_oss --device cpu --dtypes float32

Each model serves one workload under static, continuous and vLLM's scheduler in chunks. In float32 every answer must
equal that of `model.generate` alone. In bfloat16, which has 8 bits, it may diverge at a *near tie*, where the model's
two best logits are closer than `--tolerance` of the largest, or at a *routing tie* (`cbviz.run.routing`), where
another order of additions picks another expert. Any other divergence fails the run. The report says for each model
whether a GPU ran it in CUDA graphs, or eagerly and why. A type that this version of transformers lacks is reported, but
is no failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from result_file import write
from transformers import AutoConfig, GenerationConfig

import cbviz
from cbviz.eager.logit_rules import NO_RULES
from cbviz.errors import CbvizError
from cbviz.models import LoadedModel
from cbviz.models.device import pick_device, pick_dtype
from cbviz.models.folder import ready
from cbviz.models.shapes import random_weights
from cbviz.policies import Continuous, Policy, Static, VllmV1
from cbviz.run.answers import best_two
from cbviz.run.how import choose_backend
from cbviz.run.routing import routing_gaps, tied
from cbviz.workload import Request, Workload

VOCABULARY = 512
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
SLIDING = {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"] * 2}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 2},
    "qwen3_moe": {**EXPERTS, "head_dim": 32},
    "deepseek_v3": {
        "num_key_value_heads": 8, "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
        "v_head_dim": 32, "head_dim": 16, "n_routed_experts": 8, "n_group": 2, "topk_group": 1,
        "num_experts_per_tok": 2, "first_k_dense_replace": 1, "moe_intermediate_size": 128,
    },
    "gpt_oss": {"head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 2, **SLIDING},
    "gemma2": {"head_dim": 32, "query_pre_attn_scalar": 32, **SLIDING},
    "gemma4_text": {
        "head_dim": 32, "global_head_dim": 64, "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 0, **SLIDING,
    },
}  # fmt: skip
SLOTS = 6


def build(kind: str, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A small model of that type, with weights large enough that answers depend on the prompt."""
    config = AutoConfig.for_model(kind, **COMMON | MODELS[kind])
    model = random_weights(config, kind, device, dtype, seed=1)
    draw = torch.Generator(device).manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=draw, device=device, dtype=dtype) * 0.1)
    return ready(kind, model, None, device, dtype)


def workload(requests: int) -> Workload:
    """Prompts of 1 to 150 tokens and forced answers of 8 to 40."""
    draw = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    made = []
    for i in range(requests):
        prompt = torch.randint(1, VOCABULARY, (number(1, 150),), generator=draw).tolist()
        length = number(8, 41)
        made.append(Request(i, tuple(prompt), length, output_length=length))
    return Workload("answers", tuple(made))


@torch.inference_mode()
def alone(loaded: LoadedModel, request: Request) -> list[int]:
    """The answer of `model.generate`."""
    prompt = torch.tensor([request.prompt], device=loaded.device)
    output = loaded.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            max_new_tokens=request.output_length, do_sample=False, eos_token_id=None, pad_token_id=0
        ),
    )
    return [int(i) for i in output[0, len(request.prompt) :]]


def compared(loaded: LoadedModel, requests: int, tolerance: float) -> dict[str, Any]:
    """Race one model and compare every lane with generate."""
    work = workload(requests)
    policies: list[str | Policy] = [Static(), Continuous(), VllmV1(max_num_batched_tokens=48)]
    race = cbviz.race(loaded, policies, workload=work, slots=SLOTS, repeats=1, live=False)
    exact, differences = 0, []
    half = loaded.dtype != torch.float32
    for request in work:
        right = alone(loaded, request)
        for name, trace in zip(race.names, race.traces, strict=True):
            got = [int(i) for i in trace.requests.tokens[trace.requests.row(request.id)]]
            if got == right:
                exact += 1
                continue
            at = next(i for i, (a, b) in enumerate(zip(got, right, strict=False)) if a != b)
            before = [*request.prompt, *right[:at]]
            first, second, largest = best_two(loaded.model, before, NO_RULES, len(request.prompt))
            gap, routing = first - second, routing_gaps(loaded.model, before)
            why = "near tie" if half and gap <= tolerance * largest else ""
            if half and not why and routing is not None and tied(routing, loaded.dtype) is not None:
                why = "routing tie"
            differences.append(
                {
                    "lane": name,
                    "request": request.id,
                    "position": at,
                    "gap": gap,
                    "largest_logit": largest,
                    "routing_gaps": routing,
                    "why": why,
                }
            )
    return {
        "exact": exact,
        "answers": exact + len(differences),
        "differences": differences,
        "runs": "in CUDA graphs" if choose_backend(loaded) == "graphs" else "eagerly",
        "notes": list(race.notes),
        "reference": str(race.reference or ""),
    }


def tried(kind: str, device: torch.device, name: str, requests: int, tolerance: float) -> dict[str, Any]:
    """Report on one model in one number format, with "outcome" ok, failed or not here."""
    report: dict[str, Any] = {"model": kind, "dtype": name}
    try:
        loaded = build(kind, device, pick_dtype(name, device))
    except Exception as error:
        # This version of transformers lacks the type or an argument.
        return report | {"outcome": "not here", "error": f"{type(error).__name__}: {error}".splitlines()[0]}
    try:
        report |= compared(loaded, requests, tolerance)
    except CbvizError as error:
        return report | {"outcome": "failed", "error": str(error)}
    wrong = [one for one in report["differences"] if not one["why"]]
    return report | {"outcome": "failed" if wrong else "ok"}


def line(report: dict[str, Any]) -> str:
    """A report as one line."""
    text = f"{report['model']} in {report['dtype']}: {report['outcome']}"
    if "error" in report:
        return f"{text}; {report['error']}"
    kinds = [one["why"] or "WRONG" for one in report["differences"]]
    apart = ", ".join(f"{kinds.count(kind)} at a {kind}" for kind in dict.fromkeys(kinds))
    reason = f" ({' '.join(report['notes'])})" if report["notes"] else ""
    exact = f"{report['exact']} of {report['answers']} answers exact{f', {apart}' if apart else ''}"
    return f"{text}; {exact}; {report['runs']}{reason}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="all by default")
    parser.add_argument("--device")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tolerance", type=float, default=2.0**-5, help="share of the largest logit (1/32)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if unknown := [kind for kind in options.models if kind not in MODELS]:
        parser.error(f"no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    device = pick_device(options.device)
    reports = []
    for kind in options.models or MODELS:
        for name in options.dtypes:
            reports.append(tried(kind, device, name, options.requests, options.tolerance))
            print(line(reports[-1]), flush=True)
    if options.json:
        write(options.json, __file__, argv, tolerance=options.tolerance, models=reports)
    return int(any(report["outcome"] == "failed" for report in reports))


if __name__ == "__main__":
    sys.exit(main())

"""Which models run: every type of transformers' causal-LM mapping, small and random, through the engine and alone.

    python tools/sweep_models.py                         # all, a quarter of an hour on one core: writes docs/models.*
    python tools/sweep_models.py llama gpt_oss           # these, printed only
    python tools/sweep_models.py llama --write           # these, put into docs/models.json; none: docs/models.md again

Each type is built from its default configuration, only shrunk (`tools/shrink.py`), and serves five requests in six
modes: continuous batching; vLLM's scheduler in chunks with a lag of one; with prefix cache; in a pool so tight that
requests are preempted, by recomputing and by swapping; static batching. A type counts as exact if all tokens of all
requests in all modes equal those of `model.generate` alone. Each type runs in its own process, so that one that hangs
or crashes does not affect the others.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shrink  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: E402

from cbviz.core import Engine  # noqa: E402
from cbviz.core.block_pool import BlockPool  # noqa: E402
from cbviz.eager.eager_executor import ModelExecutor  # noqa: E402
from cbviz.errors import CbvizError  # noqa: E402
from cbviz.policies import Continuous, Policy, Static, VllmV1  # noqa: E402
from cbviz.workload import Request  # noqa: E402

TIMEOUT = 120.0
"""Seconds allowed for one type."""
OUTPUTS = 24
PROMPTS = (1, 7, 19, 28, 40)
ORDER = ("exact", "refused", "wrong", "raw error", "refused late", "not built")

VARIANTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("qwen2_moe", "a window in the mask only", {"use_sliding_window": True, "max_window_layers": 1}),
    ("phimoe", "a window in the mask only", {"sliding_window": 6}),
    ("mixtral", "a window", {"sliding_window": 6}),
    ("mistral", "no window", {"sliding_window": None}),
    ("qwen2", "a window", {"use_sliding_window": True, "max_window_layers": 1}),
    ("llama", "rotary embedding scaled as llama3", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}),
    ("llama", "rotary embedding scaled by yarn", {"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}}),
    ("llama", "rotary embedding scaled linearly", {"rope_parameters": {
        "rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    ("llama", "rotary embedding scaled by length", {"rope_parameters": {
        "rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
    ("llama", "is_causal=False", {"is_causal": False}),
    ("phi3", "longrope, requests up to the original context", {"rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 64, "factor": 2.0}, "original_max_position_embeddings": 64}),
    ("phi3", "longrope, requests beyond the original context", {"rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 48, "factor": 2.0}, "original_max_position_embeddings": 48}),
    ("gemma2", "scores not capped", {"attn_logit_softcapping": None}),
    ("gemma3_text", "bidirectional attention", {"use_bidirectional_attention": True}),
    ("gemma4_text", "no shared keys and values", {"num_kv_shared_layers": 0}),
    ("gemma3n_text", "no shared keys and values", {"num_kv_shared_layers": 0}),
    ("bert", "is_decoder=True", {"is_decoder": True}),
    ("roberta", "is_decoder=True", {"is_decoder": True}),
    ("electra", "is_decoder=True", {"is_decoder": True}),
    ("camembert", "is_decoder=True", {"is_decoder": True}),
    ("xlm-roberta", "is_decoder=True", {"is_decoder": True}),
    ("ernie", "is_decoder=True", {"is_decoder": True}),
    ("data2vec-text", "is_decoder=True", {"is_decoder": True}),
    ("megatron-bert", "is_decoder=True", {"is_decoder": True}),
    ("bert-generation", "is_decoder=True", {"is_decoder": True}),
    ("doge", "a window", {"sliding_window": 6}),
    ("deepseek_v3", "queries not compressed", {"q_lora_rank": None}),
    ("gpt2", "scores scaled by the layer's number", {"scale_attn_by_inverse_layer_idx": True}),
)  # fmt: skip
"""(type, what differs, the changes): additional rows of the table."""


def modes() -> Iterator[tuple[str, Policy, dict[str, Any]]]:
    """Name, policy, and further arguments of the engine: slots, blocks, lag, prefix cache, preemption."""
    yield "continuous", Continuous(), {}
    yield "vllm_v1 in chunks, lag 1", VllmV1(max_num_batched_tokens=8), {"lag": 1}
    yield "with prefix cache", VllmV1(max_num_batched_tokens=8), {"prefix_cache": True}
    yield "tight, recomputing", VllmV1(max_num_batched_tokens=8), {"blocks": 17}
    yield "tight, swapping", VllmV1(max_num_batched_tokens=8), {"blocks": 17, "preemption": "swap", "swap_blocks": 60}
    yield "static", Static(), {}


def requests() -> list[Request]:
    """Five requests; the prompts of the last two share a prefix."""
    draw = random.Random(0)
    prompts = [[draw.randrange(3, shrink.FIRST_SPECIAL) for _ in range(length)] for length in PROMPTS]
    prompts[-1][:20] = prompts[-2][:20]
    return [Request(i, tuple(prompt), OUTPUTS, output_length=OUTPUTS) for i, prompt in enumerate(prompts)]


@torch.inference_mode()
def alone(model: PreTrainedModel, request: Request) -> list[int]:
    """The greedy answer of `model.generate` to this request alone."""
    prompt = torch.tensor([request.prompt], device=model.device)
    answer = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=OUTPUTS,
        min_new_tokens=None,
        eos_token_id=[-1],
        pad_token_id=0,
    )
    return [int(i) for i in answer[0, len(request.prompt) :]]


def served(
    model: PreTrainedModel, work: list[Request], policy: Policy, options: dict[str, Any]
) -> dict[int, list[int]]:
    """The engine's answers in one mode."""
    rest = dict(options)
    blocks, prefix = rest.pop("blocks", 80), rest.pop("prefix_cache", False)
    executor = ModelExecutor(model, slots=3, pool=BlockPool(blocks, 4))
    engine = Engine(executor, policy, slots=3, pool=BlockPool(blocks, 4, prefix_cache=prefix), **rest)
    for _ in engine.run(work):
        pass
    return {request.id: engine.output(request.id) for request in work}


def telling_model(kind: str, changes: dict[str, Any]) -> tuple[PreTrainedModel, dict[int, list[int]] | str]:
    """A small model whose answers depend on the prompt, and those answers; or a model, and why it has none.

    If a type's weights answer every prompt alike, they are drawn again with another scale: with such weights, an engine
    that computes nonsense would pass.
    """
    config = shrink.small_config(kind, **changes)
    model, answers = shrink.small_model(config), "its answers do not depend on the prompt"
    for seed, spread in ((0, 3.0), (1, 3.0), (0, 8.0), (0, 1.5), (2, 20.0), (3, 1.0)):
        model = shrink.small_model(config, seed, spread)
        if not servable(model):
            return model, ""
        try:
            found = {request.id: alone(model, request) for request in requests()}
        except Exception as error:
            return model, f"model.generate fails: {_line(error)}"
        if len({tuple(answer) for answer in found.values()}) > 2:
            return model, found
    return model, answers


def servable(model: PreTrainedModel) -> bool:
    """Whether an executor can be made; a caller that reports why not tries again itself."""
    try:
        ModelExecutor(model, slots=3, pool=BlockPool(80, 4))
    except Exception:
        return False
    return True


def tried(kind: str, changes: dict[str, Any]) -> tuple[str, str]:
    """(class, reason) of a type: see `ORDER`."""
    try:
        model, right = telling_model(kind, changes)
    except Exception as error:
        return "not built", f"cannot be built so small: {_line(error)}"
    work = requests()
    try:
        ModelExecutor(model, slots=3, pool=BlockPool(80, 4))
    except CbvizError as error:
        return "refused", str(error)
    except Exception as error:
        return "raw error", _line(error)
    if isinstance(right, str):
        return "not built", right
    before = repr(model.config)
    for name, policy, options in modes():
        try:
            answers = served(model, work, policy, options)
        except CbvizError as error:
            # A request beyond the context is refused on submission, as it must be.
            beyond = "but the context has" in str(error)
            return "refused" if beyond else "refused late", f"{name}: {error}" if not beyond else str(error)
        except Exception as error:
            return "raw error", f"{name}: {_line(error)}"
        different = [i for i in right if answers[i] != right[i]]
        if different:
            return "wrong", f"{name}: {len(different)} of {len(right)} answers differ"
    if repr(model.config) != before:
        return "wrong", "the model's configuration has changed"
    return "exact", ""


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:200]}" if lines else type(error).__name__


def _child(kind: str, changes: dict[str, Any], answer: Any) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        answer.send(tried(kind, changes))


def in_a_process(kind: str, changes: dict[str, Any]) -> tuple[str, str]:
    """`tried` in its own process."""
    context = multiprocessing.get_context("fork")
    mine, others = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(kind, changes, others))
    process.start()
    others.close()
    try:
        if mine.poll(TIMEOUT):
            return mine.recv()  # type: ignore[no-any-return]
        return "raw error", f"no answer within {TIMEOUT:.0f} s"
    except EOFError:
        return "raw error", "the process died"
    finally:
        process.kill()
        process.join()


def sweep(kinds: list[str]) -> dict[str, Any]:
    """The whole table, as docs/models.json stores it."""
    rows: list[tuple[str, str, dict[str, Any]]] = [(kind, "", {}) for kind in kinds]
    rows += [(kind, what, changes) for kind, what, changes in VARIANTS if kind in kinds]
    found = []
    for kind, what, changes in rows:
        began = time.monotonic()
        result, reason = in_a_process(kind, changes)
        found.append({"type": kind, "variant": what, "class": result, "reason": reason})
        shown = f"{kind}{f' ({what})' if what else ''}: {result} {reason}"
        print(f"{time.monotonic() - began:5.1f} s  {shown}", flush=True)
    return {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "rows": found}


def merged(old: list[dict[str, str]], new: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of a table, with new results in place of old ones."""
    rows = {(row["type"], row["variant"]): row for row in [*old, *new]}
    return [*(r for r in rows.values() if not r["variant"]), *(r for r in rows.values() if r["variant"])]


HEAD = """# Which models run

All {count} types of transformers {transformers}'s causal-LM mapping were built from their default configurations, only
shrunk (layers, heads, widths, vocabulary, experts, context), with random weights in float32 on a CPU, and served five
requests in six modes: continuous batching; vLLM's scheduler in chunks with a lag of one iteration; with prefix cache;
preempting in a tight pool, by recomputing and by swapping; static batching. *Exact* means that every token of every
request in every mode is the one that `model.generate` gives on its own. A model that cannot be served that way is
refused with one sentence when it is loaded, before a KV cache is allocated. `tools/sweep_models.py` writes this page.

| | types |
|---|---:|
"""


def page(found: dict[str, Any]) -> str:
    """docs/models.md"""
    rows = [row for row in found["rows"] if not row["variant"]]
    text = HEAD.format(count=len(rows), transformers=found["transformers"])
    for name in ORDER:
        text += f"| {name} | {sum(row['class'] == name for row in rows)} |\n"
    text += "\n## Exact\n\n" + ", ".join(f"`{row['type']}`" for row in rows if row["class"] == "exact") + ".\n"
    for name in ORDER[1:]:
        chosen = [row for row in rows if row["class"] == name]
        if chosen:
            text += f"\n## {name.capitalize()}\n\n| type | reason |\n|---|---|\n"
            text += "".join(f"| `{row['type']}` | {_cell(row['reason'])} |\n" for row in chosen)
    text += "\n## Variants\n\n| type | with | result |\n|---|---|---|\n"
    for row in found["rows"]:
        if row["variant"]:
            result = row["class"] + (f": {row['reason']}" if row["reason"] else "")
            text += f"| `{row['type']}` | {row['variant']} | {_cell(result)} |\n"
    return text


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("<", "&lt;").replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("types", nargs="*", help="only these; nothing is written without --write")
    parser.add_argument("--write", action="store_true", help="put these into docs/models.json and write docs/models.md")
    chosen = parser.parse_args()
    kept = ROOT / "docs" / "models.json"
    if chosen.types or not chosen.write:
        found = sweep(chosen.types or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
        if chosen.types and not chosen.write:
            return
        if chosen.types:
            found["rows"] = merged(json.loads(kept.read_text("utf-8"))["rows"], found["rows"])
        kept.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    found = json.loads(kept.read_text("utf-8"))
    for name in ORDER:
        print(f"{name}: {sum(r['class'] == name and not r['variant'] for r in found['rows'])}")
    (ROOT / "docs" / "models.md").write_text(page(found), "utf-8")


if __name__ == "__main__":
    main()

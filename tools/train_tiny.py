#!/usr/bin/env python
"""Train the built-in model `tiny` from scratch, check it, and write its Hugging Face folder.

A Llama-architecture model of 1.6 M parameters that reads and writes one character per token learns the tasks of
`cbviz/workload/tasks.py`. Made for a GPU: about four minutes on an H100, days on a laptop's processor.

    python tools/train_tiny.py                  # train, check, write cbviz/models/tiny
    python tools/train_tiny.py --check          # only check the folder that is there

Nothing is written unless at least 98 % of the answers to held-out prompts are exact.

The weights in the package took two runs on an H100 with seed 0: 16,036 steps (`--minutes 3.1`), then 3,491 more from
there (`--start-from`, `--rate 0.001`, `--minutes 0.65`) after the weekdays and months were added to the kinds that are
learned completely.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, processors
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cbviz.workload.tasks import KINDS, Task, catalogue  # noqa: E402

FOLDER = ROOT / "cbviz" / "models" / "tiny"
CONTEXT = 384
PAD, END, UNKNOWN, ANSWER = range(4)
"""Padding, END, a character outside the vocabulary, and the newline that ends a prompt and opens its answer."""
CHARACTERS = [chr(code) for code in range(32, 127)]
IDS = {"\n": ANSWER} | {character: 4 + i for i, character in enumerate(CHARACTERS)}

TOKEN_SHARES = {
    "capital": 4,
    "spell": 6,
    "reverse": 10,
    "sort": 12,
    "shout": 3,
    "letters": 5,
    "repeat": 20,
    "count to": 3,
    "count from": 12,
    "count down": 12,
    "count by": 5,
    "alphabet": 4,
    "months": 2,
    "days": 2,
    "plus": 12,
}
"""The share of the corpus, in tokens, for each kind. Kinds that are hard to learn get more."""

NEEDED = 0.98


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=4 + len(CHARACTERS),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
        initializer_range=0.05,
    )


# --- the tokenizer ----------------------------------------------------------------------------------------------------


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json: one character per token, and a newline after every prompt.

    The newline is added by the tokenizer itself, as other tokenizers add their BOS, and by the chat template; so
    `tokenizer("Count to 3")` and `apply_chat_template` give the same tokens.
    """
    vocabulary = {"<pad>": PAD, "<end>": END, "<unk>": UNKNOWN} | IDS
    # Byte-pair encoding without merges leaves the characters as they are.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<pad>", "<end>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "\n"], special_tokens=[("\n", ANSWER)])
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<end>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONTEXT,
        "chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


# --- the corpus -------------------------------------------------------------------------------------------------------


def encoded(task: Task) -> list[int]:
    return [IDS[c] for c in task.prompt] + [ANSWER] + [IDS[c] for c in task.answer] + [END]


def pack(sequences: Iterable[list[int]]) -> np.ndarray:
    """Pack sequences end to end into rows of CONTEXT tokens without cutting any; uint8 [rows, CONTEXT]."""
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(32)]
    for sequence in sequences:
        for row in open_rows:
            if len(row) + len(sequence) <= CONTEXT:
                row += sequence
                break
        else:
            i = max(range(len(open_rows)), key=lambda j: len(open_rows[j]))
            rows.append(open_rows[i])
            open_rows[i] = list(sequence)
    rows += [row for row in open_rows if row]
    packed = np.full((len(rows), CONTEXT), PAD, dtype=np.uint8)
    for i, row in enumerate(rows):
        packed[i, : len(row)] = row
    return packed


def corpus_part(arguments: tuple[int, int]) -> np.ndarray:
    """Draw about the given number of tokens of tasks that are not held out, in random order."""
    seed, tokens = arguments
    rng = random.Random(seed)
    sequences: list[list[int]] = []
    for kind, share in TOKEN_SHARES.items():
        room = tokens * share / sum(TOKEN_SHARES.values())
        while room > 0:
            task = KINDS[kind](rng)
            if not task.held_out:
                sequences.append(encoded(task))
                room -= len(sequences[-1])
    rng.shuffle(sequences)
    return pack(sequences)


def corpus(tokens: int, seed: int, processes: int) -> Tensor:
    parts = 4 * processes
    work = [(seed * 1_000_003 + part, max(tokens // parts, 1)) for part in range(parts)]
    if processes == 1:
        return torch.from_numpy(np.concatenate([corpus_part(part) for part in work]))
    with multiprocessing.Pool(processes) as pool:
        return torch.from_numpy(np.concatenate(pool.map(corpus_part, work, chunksize=1)))


# --- training ---------------------------------------------------------------------------------------------------------


def packed_loss(model: LlamaForCausalLM, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of the answers' tokens, including END. tokens: int64 [rows, CONTEXT].

    Every sequence attends only to itself and counts its positions from 0, as if it were alone in its row.
    """
    ends = (tokens == END).cumsum(1)
    sequence = F.pad(ends[:, :-1], (1, 0))  # an END still belongs to the sequence that it ends
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    starts = F.pad(sequence[:, 1:] != sequence[:, :-1], (1, 0))
    positions = index - torch.where(starts, index, 0).cummax(1).values
    own = (sequence[:, :, None] == sequence[:, None, :]) & (index[:, :, None] >= index[:, None, :])
    answering = (tokens == ANSWER).cumsum(1) > sequence  # the newline of this sequence has been read
    output = model(input_ids=tokens, attention_mask=own[:, None], position_ids=positions, use_cache=False)
    targets = torch.where(answering & (tokens != PAD), F.pad(tokens[:, 1:], (0, 1), value=PAD), -100)
    targets = torch.where(tokens == END, -100, targets)
    return F.cross_entropy(output.logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


@dataclass(frozen=True)
class Schedule:
    """A warm-up, then a cosine to zero, over steps or minutes, whichever run out first."""

    peak: float
    warmup: int
    steps: int
    minutes: float

    def progress(self, step: int, started: float) -> float:
        return max(step / self.steps, (time.monotonic() - started) / (60 * self.minutes))

    def rate(self, step: int, progress: float) -> float:
        return self.peak * min(1, (step + 1) / self.warmup) * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1)))


def train(model: LlamaForCausalLM, rows: Tensor, options: argparse.Namespace, console: Console) -> None:
    device = torch.device(options.device)
    rows = rows.to(device)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=device.type == "cuda",
    )
    schedule = Schedule(options.rate, 300, options.steps, options.minutes)
    on_gpu = device.type == "cuda"
    compiled = on_gpu and not options.eager
    loss_of: Callable[[LlamaForCausalLM, Tensor], Tensor] = torch.compile(packed_loss) if compiled else packed_loss
    halves = torch.autocast("cuda", dtype=torch.bfloat16) if on_gpu else nullcontext()
    done, now = TextColumn("{task.percentage:.0f} %"), TextColumn("{task.description}")
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.empty(0, dtype=torch.long)
    started = time.monotonic()
    step, progress, heard = 0, 0.0, 0.0
    with Progress(BarColumn(), done, TimeRemainingColumn(), now, console=console) as bar:
        shown = bar.add_task("", total=1.0)
        while progress < 1:
            if len(order) < options.batch:
                order = torch.randperm(len(rows), generator=generator)
            batch, order = order[: options.batch], order[options.batch :]
            tokens = rows[batch.to(device)].long()
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, progress)
            with halves:
                loss = loss_of(model, tokens)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == 1:
                started = time.monotonic()  # compiling is not training
            progress = schedule.progress(step, started)
            if step % 100 == 0 or progress >= 1:
                # Reading the loss waits for the device; we do it too rarely to slow it down.
                bar.update(shown, completed=min(progress, 1), description=f"step {step} · loss {loss.item():.5f}")
                if progress >= heard:
                    seconds = time.monotonic() - started
                    console.print(f"{seconds:6.0f} s  step {step:6d}  loss {loss.item():.5f}")
                    heard += 0.1


# --- checking ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def would_answer(model: LlamaForCausalLM, tasks: list[Task]) -> tuple[list[bool], list[float]]:
    """Whether greedy decoding would write each answer exactly, and the smallest margin of its tokens.

    Feeding the prompt and the right answer at once, and comparing the most likely token at every position, decides the
    same question as decoding: the two diverge only at a wrong token, and then the answer is wrong anyway.
    """
    right = [False] * len(tasks)
    margins = [0.0] * len(tasks)
    device = next(model.parameters()).device
    by_length = sorted(range(len(tasks)), key=lambda i: len(encoded(tasks[i])))
    for at in range(0, len(tasks), 128):
        chosen = by_length[at : at + 128]
        sequences = [encoded(tasks[i]) for i in chosen]
        longest = max(map(len, sequences))
        tokens = torch.tensor([s + [PAD] * (longest - len(s)) for s in sequences], device=device)
        # Padding comes last and attention is causal, so no mask is needed.
        top = model(tokens, use_cache=False).logits.topk(2)
        best, gap = top.indices[..., 0].cpu(), (top.values[..., 0] - top.values[..., 1]).cpu()
        for row, (i, sequence) in enumerate(zip(chosen, sequences, strict=True)):
            first = len(tasks[i].prompt)
            right[i] = best[row, first : len(sequence) - 1].tolist() == sequence[first + 1 :]
            margins[i] = float(gap[row, first : len(sequence) - 1].min())
    return right, margins


@torch.no_grad()
def written_answer(model: LlamaForCausalLM, task: Task) -> list[int]:
    """Decode one answer, alone and greedily, with transformers' own generate."""
    prompt = torch.tensor([encoded(task)[: len(task.prompt) + 1]], device=next(model.parameters()).device)
    output = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=CONTEXT - prompt.shape[1],
        do_sample=False,
    )
    answer: list[int] = output[0, prompt.shape[1] :].tolist()
    return answer


def drawn(count: int, held_out: bool, seed: int) -> list[Task]:
    """Different tasks, up to `count` of each kind; small kinds have fewer."""
    rng = random.Random(f"check {seed}")
    tasks: dict[str, Task] = {}
    for draw in KINDS.values():
        found = 0
        for _ in range(100 * count):
            task = draw(rng)
            if task.held_out == held_out and task.prompt not in tasks:
                tasks[task.prompt] = task
                found += 1
                if found == count:
                    break
    return list(tasks.values())


def check(model: LlamaForCausalLM, options: argparse.Namespace, console: Console) -> float:
    """Print how many answers of each kind are exact; return the smallest share that counts."""
    groups = {
        "held out": drawn(500, True, options.seed),
        "trained": drawn(500, False, options.seed),
        "catalogue": list(catalogue()),
    }
    table = Table("kind", *groups, "closest", title="exact answers")
    results = {name: would_answer(model, tasks) for name, tasks in groups.items()}
    for kind in KINDS:
        cells = []
        closest = math.inf
        for name, tasks in groups.items():
            mine = [i for i, task in enumerate(tasks) if task.kind == kind]
            right = sum(results[name][0][i] for i in mine)
            cells.append(f"{right} / {len(mine)}")
            closest = min([closest, *(results[name][1][i] for i in mine if results[name][0][i])])
        table.add_row(kind, *cells, f"{closest:.3f}")
    console.print(table)
    for name, tasks in groups.items():
        wrong = [task.prompt for task, right in zip(tasks, results[name][0], strict=True) if not right]
        console.print(f"{name}: {len(tasks) - len(wrong)} of {len(tasks)} exact. Wrong: {wrong[:40]}", markup=False)

    alone = drawn(options.alone, True, options.seed + 1)
    exact = sum(written_answer(model, task) == encoded(task)[len(task.prompt) + 1 :] for task in alone)
    console.print(f"Decoded one at a time: {exact} of {len(alone)} held-out prompts exact.")
    shares = [sum(results[name][0]) / len(tasks) for name, tasks in groups.items()]
    return min([exact / max(len(alone), 1), *shares])


# --- the folder -------------------------------------------------------------------------------------------------------


def rounded(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The same model in fp32, with its weights rounded to bf16."""
    copy = LlamaForCausalLM(model.config).to(next(model.parameters()).device).eval()
    copy.load_state_dict({name: w.to(torch.bfloat16).float() for name, w in model.state_dict().items()})
    return copy


def write_folder(model: LlamaForCausalLM, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as fresh:
        model.to("cpu", torch.bfloat16).save_pretrained(fresh)
        write_tokenizer(Path(fresh))
        AutoTokenizer.from_pretrained(fresh)
        LlamaForCausalLM.from_pretrained(fresh)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(fresh).iterdir()):
            shutil.copyfile(file, folder / file.name)


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check the folder that is there")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the model is (default: the package's own)")
    parser.add_argument("--steps", type=at_least_one, default=16_000, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this many minutes of training")
    parser.add_argument(
        "--batch", type=at_least_one, default=192, help="rows of 384 tokens a step (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=at_least_one, default=300_000_000, help="size of the corpus (default: %(default)s)"
    )
    parser.add_argument("--alone", type=int, default=10, help="prompts of each kind decoded one at a time at the end")
    parser.add_argument("--eager", action="store_true", help="do not compile the training step on a GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--processes", type=at_least_one, default=os.cpu_count() or 1, help="processes that draw the corpus"
    )
    parser.add_argument("--start-from", type=Path, help="fp32 weights that --keep wrote, to train further")
    parser.add_argument("--keep", type=Path, help="also write the fp32 weights to this file, however good they are")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = options_from(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    torch.manual_seed(options.seed)
    if options.check:
        model = LlamaForCausalLM.from_pretrained(options.folder, dtype=torch.float32).to(options.device).eval()
        return 0 if check(model, options, console) >= NEEDED else 1

    # The corpus comes first: its processes may be forked, which must happen before CUDA is initialised.
    started = time.monotonic()
    rows = corpus(options.tokens, options.seed, options.processes)
    console.print(f"{rows.numel():,} tokens drawn in {time.monotonic() - started:.0f} s")
    torch.backends.cuda.matmul.allow_tf32 = False
    model = LlamaForCausalLM(config()).to(options.device)
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {options.device}")
    if options.start_from:
        kept = load_file(options.start_from)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(kept[name])
    train(model, rows, options, console)
    if options.keep:
        save_file({name: p.detach().cpu() for name, p in model.named_parameters()}, options.keep)
    final = rounded(model)
    share = check(final, options, console)
    if share < NEEDED:
        console.print(f"Only {share:.1%} exact where {NEEDED:.0%} is needed: nothing written.")
        return 1
    write_folder(final, options.folder)
    console.print(f"Written to {options.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

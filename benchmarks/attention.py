"""The attention kernels on a GPU: first right, then fast. `python benchmarks/attention.py --json FILE`

1. Every kernel against PyTorch's attention in float32: random lengths, slots in random order, idle rows, tables with
   invalid tails, outputs and unowned cache positions filled with NaN.
2. Decoding at a context of 400 over tiles, pipeline depths, warps and splits: many calls in one CUDA graph, each on
   another part of a cache much larger than the L2, like the layers of a model.
3. Writing keys and values, and prefill of 8,192 tokens in prompts of 128.

Bandwidth is bytes of keys and values read per second, as a share of a large copy's (bytes read and written).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from cbviz.cuda import varlen
from cbviz.cuda.triton_decode import Launch, decode
from cbviz.cuda.triton_prompt import place


class Shape(NamedTuple):
    heads: int
    kv_heads: int
    size: int
    dtype: torch.dtype

    @property
    def bytes_a_position(self) -> int:
        return 2 * self.kv_heads * self.size * self.dtype.itemsize


SHAPES = {
    "llama-3.1-8b": Shape(32, 8, 128, torch.bfloat16),
    "smollm2-135m": Shape(9, 3, 64, torch.bfloat16),
    "opt-13b": Shape(40, 40, 128, torch.float16),
}
# (tile, stages, warps) to try, by shape and block size.
TRY: list[tuple[str, int, list[tuple[int, int, int]]]] = [
    (
        "llama-3.1-8b",
        16,
        [(16, 9, 1), (16, 9, 2), (32, 5, 2), (32, 5, 4), (32, 7, 4), (64, 3, 4), (64, 5, 4), (128, 3, 8), (128, 5, 8)],
    ),
    (
        "llama-3.1-8b",
        256,
        [(32, 5, 2), (32, 5, 4), (32, 7, 4), (64, 5, 4), (64, 7, 4), (128, 3, 4), (128, 5, 4), (128, 5, 8)],
    ),
    ("smollm2-135m", 16, [(16, 9, 2), (32, 5, 4), (64, 5, 4), (128, 3, 4), (256, 3, 8)]),
    ("smollm2-135m", 32, [(32, 5, 1), (32, 5, 2), (32, 7, 1), (64, 5, 2), (128, 3, 4)]),
    ("smollm2-135m", 256, [(32, 5, 2), (64, 5, 2), (64, 5, 4), (128, 3, 4), (128, 5, 4)]),
    ("opt-13b", 16, [(16, 9, 2), (32, 5, 4), (128, 3, 4)]),
    ("opt-13b", 256, [(32, 5, 2), (32, 5, 4), (64, 5, 4), (128, 3, 4)]),
]
ROWS = {"llama-3.1-8b": (1, 8, 32, 64, 128, 256), "smollm2-135m": (1, 8, 32, 128, 256), "opt-13b": (1, 8, 16, 32)}
CONTEXTS = {"even": (400, 400), "ragged": (100, 700), "long": (2000, 2000)}
TABLE_POSITIONS = 4096  # the longest a request may grow, which is the width of the block tables
CACHE_BYTES = 2**31  # keys, and as much again for values
DEVICE = torch.device("cuda")


class Cache:
    """One layer of random keys and values, and methods to place rows in it."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        positions = CACHE_BYTES * 2 // shape.bytes_a_position // 256 * 256
        self.keys = torch.empty(positions, shape.kv_heads, shape.size, dtype=shape.dtype, device=DEVICE).normal_()
        self.values = torch.empty_like(self.keys).normal_()

    def rows(self, context: list[int], block_size: int, blocks: Tensor) -> dict[str, Any]:
        """The arguments of `decode` for rows that own these blocks, in table rows of random order."""
        needs = [-(-length // block_size) for length in context]
        slots = len(context) + 3
        slot = torch.randperm(slots)[: len(context)]
        tables = torch.full((slots, -(-TABLE_POSITIONS // block_size)), -1, dtype=torch.int32)
        for row, (need, end) in enumerate(zip(needs, accumulate(needs), strict=True)):
            tables[slot[row], :need] = blocks[end - need : end].int()
        return {
            "query": torch.randn(len(context), self.shape.heads, self.shape.size, device=DEVICE).to(self.shape.dtype),
            "keys": self.keys,
            "values": self.values,
            "tables": tables.to(DEVICE),
            "slot": slot.to(DEVICE, torch.int32),
            "context": torch.tensor(context, dtype=torch.int32, device=DEVICE),
            "block_size": block_size,
            "scale": self.shape.size**-0.5,
        }

    def blocks(self, block_size: int) -> Tensor:
        return torch.randperm(len(self.keys) // block_size)

    def many_rows(self, rows: int, low: int, high: int, block_size: int) -> list[dict[str, Any]]:
        """More sets of rows than fit in the L2, each with its own blocks."""
        traffic = rows * (low + high) // 2 * self.shape.bytes_a_position
        calls = max(4, min(256, -(-150_000_000 // traffic)))
        free, made = self.blocks(block_size), []
        for _ in range(calls):
            context = torch.randint(low, high + 1, (rows,)).tolist()
            need = sum(-(-length // block_size) for length in context)
            made.append(self.rows(context, block_size, free[:need]))
            free = free[need:]
        return made


def positions(table: Tensor, length: int, block_size: int) -> Tensor:
    at = torch.arange(length, device=table.device)
    return table.long()[at // block_size] * block_size + at % block_size


def exact(query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None) -> Tensor:
    """Attention of one row's last queries in float32."""
    at = torch.arange(len(keys), device=DEVICE)
    asks = at[len(keys) - len(query) :, None]
    q, k, v = (x.float().transpose(0, 1) for x in (query, keys, values))
    mask = (at <= asks) & (at > asks - (window or len(keys)))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True).transpose(0, 1)


def check_decode(
    shape: Shape, block_size: int, window: int | None, launches: list[tuple[Launch | None, int | None]]
) -> float:
    """The largest error over launches and splits: the norm of the difference / the norm of the exact result."""
    cache = Cache(shape)
    context = torch.randint(1, 701, (24,)).tolist()
    context[3] = context[11] = 0
    arguments = cache.rows(context, block_size, cache.blocks(block_size))
    owned = [
        positions(arguments["tables"][s], n, block_size)
        for s, n in zip(arguments["slot"].tolist(), context, strict=True)
    ]
    poison = torch.ones(len(cache.keys), dtype=torch.bool, device=DEVICE)
    poison[torch.cat(owned)] = False
    cache.keys[poison], cache.values[poison] = float("nan"), float("nan")
    truth = torch.zeros(len(context), shape.heads, shape.size, device=DEVICE)
    for row, at in enumerate(owned):
        if len(at):
            query = arguments["query"][row : row + 1]
            truth[row] = exact(query, cache.keys[at], cache.values[at], arguments["scale"], window)[0]
    # Once with every key in the cache; once with each row's newest key passed in, for the kernel to store.
    alive = [row for row, at in enumerate(owned) if len(at)]
    last = torch.stack([owned[row][-1] for row in alive])
    blank = torch.full_like(arguments["query"][:, : shape.kv_heads], float("nan"))
    newest = (blank, blank.clone())
    for new, cached in zip(newest, (cache.keys, cache.values), strict=True):
        new[alive] = cached[last]
    worst = 0.0
    for launch, splits in launches:
        for given in (None, newest):
            if given is not None:
                cache.keys[last], cache.values[last] = float("nan"), float("nan")
            out = torch.full_like(arguments["query"], float("nan"))
            decode(**arguments, window=window, launch=launch, splits=splits, newest=given, out=out)
            error = float((out.float() - truth).norm() / truth.norm())
            assert error < 1e-2, (shape, block_size, window, launch, splits, given is not None, error)
            worst = max(worst, error)
        assert torch.equal(cache.keys[last], newest[0][alive]), (shape, block_size, launch, splits)
        assert torch.equal(cache.values[last], newest[1][alive]), (shape, block_size, launch, splits)
    return worst


def packed_prompts(asks: list[int], context: list[int], owned: list[Tensor]) -> varlen.PackedPrompts:
    """Rows with so many query tokens and cached positions, which lie where `owned` says."""
    return varlen.PackedPrompts(
        cu_seqlens_q=torch.tensor([0, *accumulate(asks)], dtype=torch.int32, device=DEVICE),
        cu_seqlens_k=torch.tensor([0, *accumulate(context)], dtype=torch.int32, device=DEVICE),
        longest_queries=max(asks),
        longest_context=max(context),
        fresh=asks == context,
        gather=torch.cat(owned),
    )


def check_prefill(shape: Shape, window: int | None, later: bool) -> float:
    """Prompts of random lengths; `later` gives some of them an earlier context."""
    cache, block_size = Cache(shape), 16
    asks = torch.randint(2, 300, (7,)).tolist()
    context = [n + (int(torch.randint(0, 200, ())) if later else 0) for n in asks]
    arguments = cache.rows(context, block_size, cache.blocks(block_size))
    tables = arguments["tables"][arguments["slot"].long()].long()
    owned = [positions(table, n, block_size) for table, n in zip(tables, context, strict=True)]
    write = torch.cat([at[len(at) - n :] for at, n in zip(owned, asks, strict=True)])
    query = torch.randn(sum(asks), shape.heads, shape.size, device=DEVICE).to(shape.dtype)
    assert (why := varlen.refusal(query)) is None, why
    # The new keys are a strided slice of a fused projection; without them, the cache must give the same result.
    fused = torch.stack([cache.keys[write], cache.values[write]], dim=1)
    packed, worst = packed_prompts(asks, context, owned), 0.0
    given: list[tuple[Tensor, Tensor] | tuple[None, None]] = [(fused[:, 0], fused[:, 1]), (None, None)]
    for keys, values in given:
        out = varlen.prefill(
            query, keys, values, cache.keys, cache.values, packed, scale=arguments["scale"], window=window
        )
        rows = zip(torch.split(query, asks), owned, strict=True)
        truth = torch.cat([exact(q, cache.keys[at], cache.values[at], arguments["scale"], window) for q, at in rows])
        error = float((out.float() - truth).norm() / truth.norm())
        assert error < 1e-2, (shape, window, later, error)
        worst = max(worst, error)
    return worst


def seconds_a_call(calls: list[Callable[[], object]]) -> float:
    """Seconds a call: all calls in one CUDA graph; the median of five replays after two warm-ups."""
    calls[0]()  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    times: list[float] = []
    for _ in range(7):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return median(times[2:]) / len(calls)


def copy_bandwidth() -> float:
    """Bytes read and written per second by a large copy, done by a kernel like those it is compared with."""
    source = torch.empty(2**30, dtype=torch.int32, device=DEVICE).random_()
    target = torch.empty_like(source)
    return 2 * 2**32 / seconds_a_call([lambda: torch.bitwise_not(source, out=target)] * 3)


def splits_to_try(rows: int, kv_heads: int) -> list[int]:
    return [s for s in (1, 2, 4, 8, 16, 32) if s == 1 or rows * kv_heads * s <= 1100]


def time_decode(name: str, block_size: int, tries: list[tuple[int, int, int]], copy: float) -> list[dict[str, Any]]:
    shape = SHAPES[name]
    found: list[dict[str, Any]] = []
    launches = [Launch(tile, 1, stages, warps) for tile, stages, warps in tries]
    error = check_decode(shape, block_size, None, [(launch, splits) for launch in launches for splits in (1, 5)])
    print(f"{name}, blocks of {block_size}: {len(launches)} launches right, error at most {error:.1e}", flush=True)
    cache = Cache(shape)
    for rows in ROWS[name]:
        for contexts, (low, high) in CONTEXTS.items():
            if (contexts == "long") != (rows == 1) and contexts != "even":
                continue
            work = cache.many_rows(rows, low, high, block_size)
            traffic = sum(int(w["context"].sum()) for w in work) / len(work) * shape.bytes_a_position
            splits = splits_to_try(rows, shape.kv_heads)
            for launch in [None, *(x._replace(splits=s) for x in launches for s in splits)]:
                taken = seconds_a_call([partial(decode, **w, launch=launch) for w in work])
                found.append(
                    {"shape": name, "block_size": block_size, "rows": rows, "contexts": contexts}
                    | {"launch": "plan" if launch is None else launch._asdict(), "microseconds": round(taken * 1e6, 2)}
                    | {"bandwidth": round(traffic / taken / 1e12, 3), "share_of_copy": round(traffic / taken / copy, 3)}
                )
            here = found[-1 - len(launches) * len(splits) :]
            best = sorted(here, key=lambda f: f["microseconds"])[:4]
            for f in [here[0], *best]:
                how = f["launch"]
                if how != "plan":
                    how = "tile {tile} splits {splits} stages {stages} warps {warps}".format(**how)
                measured = f"{f['microseconds']:8.1f} µs {f['share_of_copy']:6.1%}"
                print(f"  {rows:4} rows {contexts:6} {measured}  {how}", flush=True)
    return found


def time_flash(name: str, rows: int, copy: float) -> dict[str, Any]:
    """PyTorch's FlashAttention-2 on a cache with one region per slot, for comparison."""
    shape = SHAPES[name]
    cache = Cache(shape)
    region, context = 512, 400
    regions = torch.randperm(len(cache.keys) // region, dtype=torch.int32).to(DEVICE) * region
    calls: list[Callable[[], object]] = []
    traffic = rows * context * shape.bytes_a_position
    for i in range(max(4, min(256, -(-150_000_000 // traffic), len(regions) // rows - 1))):
        query = torch.randn(rows, shape.heads, shape.size, device=DEVICE).to(shape.dtype)
        bounds = torch.arange(rows + 1, dtype=torch.int32, device=DEVICE)
        starts = regions[i * rows : (i + 1) * rows + 1].contiguous()
        used = torch.full((rows,), context, dtype=torch.int32, device=DEVICE)
        arguments = (query, cache.keys, cache.values, bounds, starts, 1, region, 0.0, True, False)
        calls.append(partial(torch.ops.aten._flash_attention_forward, *arguments, scale=0.1, seqused_k=used))
    taken = seconds_a_call(calls)
    return {"shape": name, "rows": rows, "microseconds": taken * 1e6, "share_of_copy": traffic / taken / copy}


def time_store(name: str, tokens: int) -> dict[str, Any]:
    shape = SHAPES[name]
    cache = Cache(shape)
    calls: list[Callable[[], object]] = []
    for _ in range(max(4, min(64, 2**17 // tokens))):
        fused = torch.randn(tokens, shape.heads + 2 * shape.kv_heads, shape.size, device=DEVICE).to(shape.dtype)
        _, keys, values = torch.split(fused, [shape.heads, shape.kv_heads, shape.kv_heads], dim=1)
        where = torch.randperm(len(cache.keys), device=DEVICE)[:tokens]
        calls.append(partial(place, keys, keys, values, cache.keys, cache.values, where))
    return {"shape": name, "tokens": tokens, "microseconds": seconds_a_call(calls) * 1e6}


def time_prefill(name: str, fresh: bool) -> dict[str, Any]:
    """8,192 tokens in 64 prompts of 128: with `fresh` keys passed in, else keys gathered from the cache first."""
    shape, prompts, length = SHAPES[name], 64, 128
    cache = Cache(shape)
    calls: list[Callable[[], object]] = []
    for _ in range(4):
        tables = cache.blocks(16)[: prompts * length // 16].reshape(prompts, -1).to(DEVICE)
        owned = [positions(table, length, 16) for table in tables]
        write = torch.cat(owned)
        packed = packed_prompts([length] * prompts, [length] * prompts, owned)
        query = torch.randn(prompts * length, shape.heads, shape.size, device=DEVICE).to(shape.dtype)
        new = (cache.keys[write], cache.values[write]) if fresh else (None, None)
        arguments = (query, *new, cache.keys, cache.values, packed)
        calls.append(partial(varlen.prefill, *arguments, scale=0.1, window=None))
    taken = seconds_a_call(calls)
    flops = prompts * length * (length + 1) // 2 * 4 * shape.heads * shape.size
    return {"shape": name, "fresh": fresh, "microseconds": taken * 1e6, "teraflops": flops / taken / 1e12}


def table(value: object) -> str:
    """JSON with one record per line."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(record) for record in value) + "\n]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write all results")
    tries = {f"{name}:{block_size}": (name, block_size, launches) for name, block_size, launches in TRY}
    parser.add_argument(
        "--only", action="append", choices=tries, metavar="SHAPE:BLOCK", help=f"decoding only ({', '.join(tries)})"
    )
    options = parser.parse_args()
    torch.manual_seed(1)
    began = time.perf_counter()
    results: dict[str, Any] = {
        "command": " ".join(["python benchmarks/attention.py", *(f"--only {name}" for name in options.only or [])]),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda},
        "copy_bandwidth": round(copy_bandwidth() / 1e12, 3),
    }
    copy = results["copy_bandwidth"] * 1e12
    print(f"{results['device']}: a copy moves {copy / 1e12:.2f} TB/s", flush=True)

    def keep(name: str, found: list[dict[str, Any]]) -> None:
        """Write results as they come, so that an interrupted run keeps what it measured."""
        results[name] = results.get(name, []) + found
        print(f"[{time.perf_counter() - began:.0f} s] {name}", flush=True)
        if options.json:
            lines = [f"{json.dumps(key)}: {table(value)}" for key, value in results.items()]
            options.json.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")

    if options.only:
        for name in options.only:
            keep("decode", time_decode(*tries[name], copy))
        return
    errors = []
    for name, shape in SHAPES.items():
        for dtype in (torch.bfloat16, torch.float16):
            for block_size, window in ((16, None), (256, 100)):
                error = check_decode(
                    shape._replace(dtype=dtype), block_size, window, [(None, None), (None, 1), (None, 5)]
                )
                errors.append(
                    {"kernel": "decode", "shape": name, "dtype": str(dtype), "window": window, "error": error}
                )
            for window, later in ((None, False), (None, True), (100, True)):
                error = check_prefill(shape._replace(dtype=dtype), window, later)
                errors.append(
                    {"kernel": "prefill", "shape": name, "dtype": str(dtype), "window": window, "error": error}
                )
    keep("checks", errors)
    print(*(f"  {e['kernel']} {e['shape']} {e['dtype']} {e['window']}: {e['error']:.1e}" for e in errors), sep="\n")
    keep("store", found := [time_store(name, tokens) for name in SHAPES for tokens in (1, 32, 128, 8192)])
    print(*(f"  {f['shape']} {f['tokens']} tokens {f['microseconds']:.1f} µs" for f in found), sep="\n")
    keep("prefill", found := [time_prefill(name, fresh) for name in SHAPES for fresh in (True, False)])
    print(
        *(f"  {f['shape']} fresh {f['fresh']} {f['microseconds']:.0f} µs {f['teraflops']:.0f} TFLOP/s" for f in found),
        sep="\n",
    )
    keep("flash", found := [time_flash(name, rows, copy) for name in SHAPES for rows in ROWS[name]])
    print(
        *(f"  {f['shape']} {f['rows']} rows {f['microseconds']:.1f} µs {f['share_of_copy']:.1%}" for f in found),
        sep="\n",
    )
    for name in tries:
        keep("decode", time_decode(*tries[name], copy))


if __name__ == "__main__":
    main()

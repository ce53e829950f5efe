"""The attention kernels against PyTorch's own attention in float32.

Without a GPU the Triton kernels run in Triton's interpreter, in a process of its own: Triton must know when it is
first imported. What they must not read is poison: cache positions that no row owns hold NaN, tables end in nonsense.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate, pairwise
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Step
from cbviz.cuda import flash3, fused_gate, fused_rotary, kernels, triton_decode, triton_prompt, varlen
from cbviz.cuda.attend import LayerCall, StaticPass
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.cuda.layout import NOWHERE, Layout, PromptPieces, Shape
from cbviz.cuda.static_triton import TritonStaticAttention
from cbviz.eager.attention import VarlenBatch
from cbviz.eager.sdpa import SdpaAttention
from cbviz.errors import EngineError
from cbviz.policies import Sarathi
from tests.shapes import make, solo
from tests.test_engine_answers import requests

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}

# --- what runs in the process that has the interpreter -------------------------------------------------------------


class Paged:
    """A cache whose rows own blocks in random order, with NaN in every position that no row owns.

    Rows use table rows in random order; tables end in the number of a block that does not exist.
    """

    def __init__(
        self, context: list[int], kv_heads: int, size: int, block_size: int, dtype: torch.dtype, seed: int = 0
    ) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.block_size, self.dtype = block_size, dtype
        longest = -(-max(context) // block_size)
        slots = len(context) + 2
        blocks = slots * longest
        self.context = torch.tensor(context, dtype=torch.int32, device=DEVICE)
        self.slot = torch.randperm(slots, generator=self.draw)[: len(context)].to(DEVICE, torch.int32)
        self.tables = torch.full((slots, longest + 1), 2**30, dtype=torch.int32, device=DEVICE)
        self.keys = torch.full((blocks * block_size, kv_heads, size), float("nan"), dtype=dtype, device=DEVICE)
        self.values = self.keys.clone()
        free = torch.randperm(blocks, generator=self.draw).to(DEVICE, torch.int32)
        self.places = []
        for row, length in enumerate(context):
            needs = -(-length // block_size)
            self.tables[self.slot[row], :needs], free = free[:needs], free[needs:]
            position = torch.arange(length, device=DEVICE)
            table = self.tables[self.slot[row]].long()
            place = table[position // block_size] * block_size + position % block_size
            self.keys[place], self.values[place] = (
                self.normal(length, kv_heads, size),
                self.normal(length, kv_heads, size),
            )
            self.places.append(place)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draw).to(DEVICE, self.dtype)


def reference(query: Tensor, cache: Paged, row: int, scale: float, window: int | None) -> Tensor:
    """float32 [queries, heads, head size]: the row's last queries, by PyTorch's attention without any paging."""
    length = int(cache.context[row])
    at = torch.arange(length, device=DEVICE)
    asks = at[length - len(query) :, None]
    mask = (at <= asks) & (at > asks - (window or length))
    keys, values = cache.keys[cache.places[row]].float(), cache.values[cache.places[row]].float()
    out = F.scaled_dot_product_attention(
        query.float().transpose(0, 1),
        keys.transpose(0, 1),
        values.transpose(0, 1),
        attn_mask=mask,
        scale=scale,
        enable_gqa=True,
    )
    return out.transpose(0, 1)


def assert_close(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    error = float((ours.float() - theirs).norm() / theirs.norm())
    assert error <= TOLERANCE[dtype], error  # a NaN is not


def decode_like_sdpa(
    heads: int, kv_heads: int, size: int, block_size: int, splits: int | None, window: int | None, dtype: torch.dtype
) -> None:
    """With everything in the cache, with each row's newest key and value beside it, and with these still to rotate."""
    context = [37, 1, 0, 64] if window is None else [37, 1, 0, 50]
    cache = Paged(context, kv_heads, size, block_size, dtype)
    unturned = cache.normal(heads, len(context), size).transpose(0, 1)  # strided, as modelling code passes it
    cos, sin = angles(len(context), size, dtype)
    query = turned(unturned, cos, sin)
    newest = cache.normal(2, kv_heads, len(context), size).transpose(1, 2)
    turned_newest = (turned(newest[0], cos, sin), newest[1])
    for row, place in enumerate(cache.places):
        if len(place):
            cache.keys[place[-1]], cache.values[place[-1]] = turned_newest[0][row], turned_newest[1][row]
    expected = [
        reference(query[row : row + 1], cache, row, 0.3, window) if length else None
        for row, length in enumerate(context)
    ]
    whole_keys, whole_values = cache.keys.clone(), cache.values.clone()
    arrivals = torch.zeros(len(context) * kv_heads, dtype=torch.int32, device=DEVICE)
    for asking, beside, rotation in (
        (query, None, None),
        (query, turned_newest, None),
        (unturned, (newest[0], newest[1]), (cos, sin)),
    ):
        out = torch.full_like(query, float("nan"))
        if beside is not None:
            last = torch.stack([place[-1] for place in cache.places if len(place)])
            cache.keys[last] = cache.values[last] = float("nan")
        answer = triton_decode.decode(
            asking,
            cache.keys,
            cache.values,
            cache.tables,
            cache.slot,
            cache.context,
            block_size=block_size,
            scale=0.3,
            newest=beside,
            rotary=rotation,
            window=window,
            splits=splits,
            arrivals=arrivals,
            out=out,
        )
        assert answer is out
        for row, right in enumerate(expected):
            if right is None:
                assert (out[row] == 0).all()
            else:
                assert_close(out[row : row + 1], right, dtype)
        assert not arrivals.any()
        if rotation is None:
            assert torch.equal(cache.keys.nan_to_num(), whole_keys.nan_to_num())
        else:  # a product and a sum may be rounded once or twice
            torch.testing.assert_close(cache.keys, whole_keys, equal_nan=True)
        assert torch.equal(cache.values.nan_to_num(), whole_values.nan_to_num())


def angles(tokens: int, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines, [tokens, size] each, of angles that two halves share."""
    angle = torch.linspace(0, 50, tokens * size // 2).view(tokens, size // 2).repeat(1, 2).to(DEVICE)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """What models compute, in float32."""
    wide, c, s = x.float(), cos.float().unsqueeze(1), sin.float().unsqueeze(1)
    return fused_rotary.rotate(wide, c, s, x.shape[-1] // 2).to(x.dtype)


def prompts_are_placed(
    query_heads: int, heads: int, size: int, where: list[int], kind: torch.dtype, dtype: torch.dtype, first: int
) -> None:
    """Strided slices of a fused projection in, rotated queries and keys out, and a cache that has the tokens' own."""
    tokens = len(where)
    fused = torch.randn(tokens, query_heads + 2 * heads + 1, size, device=DEVICE).to(dtype)
    query, key, value = fused[:, 1:].split([query_heads, heads, heads], dim=1)
    cos, sin = angles(tokens, size, dtype)
    keys, values = (torch.full((9, heads, size), 7.0, device=DEVICE, dtype=dtype) for _ in range(2))
    expected_keys, expected_values = keys.clone(), values.clone()
    expected = turned(query, cos, sin), turned(key, cos, sin)
    for token, position in enumerate(where):
        if position >= 0 and token >= first:
            expected_keys[position], expected_values[position] = expected[1][token], value[token]
    mapping = torch.tensor(where, dtype=kind, device=DEVICE)
    found = triton_prompt.place(query, key, value, keys, values, mapping, (cos, sin), first=first)
    for mine, right in zip(found, expected, strict=True):
        assert mine.is_contiguous()
        torch.testing.assert_close(mine[first:], right[first:])
    torch.testing.assert_close(keys, expected_keys)
    assert torch.equal(values, expected_values)


def placed_as_they_are(heads: int, size: int, where: list[int], kind: torch.dtype) -> None:
    """Models without a rotary embedding: any strides, and nothing but the cache is written."""
    fused = torch.randn(len(where), 3, heads, size, device=DEVICE)
    keys_new, values_new = fused[:, 1], torch.randn(heads, size, len(where), device=DEVICE).permute(2, 0, 1)
    keys, values = torch.full((9, heads, size), 7.0, device=DEVICE), torch.full((9, heads, size), 7.0, device=DEVICE)
    expected_keys, expected_values = keys.clone(), values.clone()
    for token, position in enumerate(where):
        if position >= 0:
            expected_keys[position], expected_values[position] = keys_new[token], values_new[token]
    mapping = torch.tensor(where, dtype=kind, device=DEVICE)
    query = fused[:, 0].transpose(1, 2).contiguous().transpose(1, 2)
    assert triton_prompt.place(query, keys_new, values_new, keys, values, mapping) == (query, keys_new)
    assert torch.equal(keys, expected_keys)
    assert torch.equal(values, expected_values)


def static_like_sdpa(rows: list[tuple[int, int]], window: int | None, dtype: torch.dtype) -> None:
    """A pass as the graphs run it. Rows are (context, query tokens): decoding, whole prompts and later chunks."""
    cache = Paged([context for context, _ in rows], 2, 16, 4, dtype)
    asks = np.array([asks for _, asks in rows], np.int32)
    slot = cache.slot.cpu().numpy()
    start = cache.context.cpu().numpy() - asks
    tables = np.zeros((len(cache.tables) + 1, cache.tables.shape[1]), np.int32)
    tables[:-1] = cache.tables.cpu().numpy()
    step = Step(0, (), slot, start, asks, np.zeros_like(asks), tables)
    decoding, prompts = (np.flatnonzero(kind).astype(np.int32) for kind in (asks == 1, asks > 1))
    pieces = PromptPieces(prompts, start[prompts], asks[prompts])
    tokens = int(pieces.count.sum())
    keys = int(pieces.end.sum()) if pieces.start.any() else 0
    shape = Shape(
        len(decoding) + 1, tokens and tokens + 3, tokens and len(prompts) + 1, tokens and 32, keys and keys + 5
    )
    layout = Layout(shape, scratch=len(tables) - 1)
    flat = np.zeros(layout.length, np.int32)
    layout.fill(flat, step, decoding, pieces, [np.ones(n, np.int32) for n in pieces.count], cache.block_size)
    fields = layout.views(torch.from_numpy(flat).to(DEVICE))
    query = cache.normal(shape.width, 4, 16)
    key, value = (cache.normal(shape.width, 2, 16) for _ in range(2))
    real = (fields["slot_mapping"] != NOWHERE).nonzero()[:, 0]
    written = fields["slot_mapping"][real].long()
    key[real], value[real] = cache.keys[written], cache.values[written]
    before = cache.keys.clone(), cache.values.clone()
    cache.keys[written] = cache.values[written] = float("nan")  # the pass itself must write them
    stored = SimpleNamespace(keys=[cache.keys], values=[cache.values], block_size=cache.block_size)
    arrivals = torch.zeros(len(tables) * 2, dtype=torch.int32, device=DEVICE)
    with pytest.MonkeyPatch.context() as patch:
        if not GPU:
            patch.setattr(varlen, "_flash", lambda: flash_by_loop)
            patch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        attention = TritonStaticAttention(DEVICE)
        held: Any = stored
        static = StaticPass(shape, fields, torch.from_numpy(tables).to(DEVICE), arrivals, held, attention)
        out = attention.attend(LayerCall(query, key, value, layer=0, scale=0.25, window=window), static)
    first = dict(
        zip([*decoding.tolist(), *prompts.tolist()], [*range(len(decoding)), *_starts(shape, pieces)], strict=True)
    )
    for row, begin in first.items():
        mine = slice(begin, begin + int(asks[row]))
        assert_close(out[mine], reference(query[mine], cache, row, 0.25, window), dtype)
    for now, then in zip((cache.keys, cache.values), before, strict=True):
        assert torch.equal(now.nan_to_num(), then.nan_to_num()), "written where they belong, and nowhere else"


def _starts(shape: Shape, pieces: PromptPieces) -> list[int]:
    """Where each prompt's query tokens begin in a pass."""
    return (shape.rows + np.cumsum(pieces.count) - pieces.count).tolist() if len(pieces.row) else []


def varlen_batch(cache: Paged, asks: list[int]) -> VarlenBatch:
    return VarlenBatch(
        cu_seqlens=(0, *accumulate(asks)),
        context=tuple(cache.context.tolist()),
        tables=cache.tables[cache.slot.long()].long(),
        slot_mapping=torch.cat([place[len(place) - n :] for place, n in zip(cache.places, asks, strict=True)]),
        block_size=cache.block_size,
    )


def packed_prompts(cache: Paged, asks: list[int]) -> varlen.PackedPrompts:
    """The cache's rows as FlashAttention wants them."""
    context = cache.context.tolist()
    return varlen.PackedPrompts(
        cu_seqlens_q=torch.tensor([0, *accumulate(asks)], dtype=torch.int32, device=DEVICE),
        cu_seqlens_k=torch.tensor([0, *accumulate(context)], dtype=torch.int32, device=DEVICE),
        longest_queries=max(asks),
        longest_context=max(context),
        fresh=asks == context,
        gather=torch.cat(cache.places),
    )


def flash_by_loop(q: Tensor, k: Tensor, v: Tensor, packed: varlen.PackedPrompts, scale: float, before: int) -> Tensor:
    """What FlashAttention promises: prompt by prompt, causal, `before` positions at most looked back (-1: all)."""
    out = torch.zeros_like(q)
    asks, sees = packed.cu_seqlens_q.tolist(), packed.cu_seqlens_k.tolist()
    for i in range(len(asks) - 1):
        mine, theirs = slice(asks[i], asks[i + 1]), slice(sees[i], sees[i + 1])
        key = torch.arange(sees[i + 1] - sees[i], device=q.device)
        last = key[len(key) - (asks[i + 1] - asks[i]) :, None]
        mask = (key <= last) & ((key >= last - before) if before >= 0 else True)
        q1, k1, v1 = (x.transpose(0, 1) for x in (q[mine], k[theirs], v[theirs]))
        out[mine] = F.scaled_dot_product_attention(q1, k1, v1, attn_mask=mask, scale=scale, enable_gqa=True).transpose(
            0, 1
        )
    return out


def kernels_answer_as_the_model() -> None:
    """The executor for GPUs with its own kernels: on a CPU only FlashAttention and Inductor are played by others."""
    fused: list[int] = []

    def traced(graph_module: torch.fx.GraphModule, example_inputs: list[Tensor], settings: object) -> object:
        fused.append(fused_rotary.fuse_rotary(graph_module))
        return graph_module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "_flash", lambda: flash_by_loop)
        patch.setattr(varlen, "refusal", lambda query: None)
        patch.setattr("cbviz.cuda.compiled._inductor", traced)
        patch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        for sizes in ("PROMPT_SIZES", "PROMPT_LENGTHS"):  # the interpreter is slow, at padding, too
            patch.setattr(f"cbviz.cuda.graph_replay.{sizes}", (8, 16))
        torch._dynamo.reset()
        model, work, pool = make("llama"), requests(3, seed=5), BlockPool(64, 4)
        attention = TritonStaticAttention(DEVICE)
        executor = GraphExecutor(model, slots=2, pool=pool, lag=1, attention=attention)
        engine = Engine(executor, Sarathi(chunk_size=6), slots=2, pool=pool, lag=1)
        for _ in engine.run(work):
            pass
        assert max(fused) == 3, "all layers hand their rotation to attention"
        assert {r.id: engine.output(r.id) for r in work} == {r.id: solo(model, r) for r in work}


def gate_like_pytorch(tokens: int, inner: int, width: int, dtype: torch.dtype) -> None:
    """The kernel of gate and up, with rows of a weight that lies inside a larger tensor, and a padded last tile."""
    draw = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, inner, generator=draw).to(DEVICE, dtype)
    weight = (torch.randn(2 * width + 8, inner, generator=draw) / inner**0.5).to(DEVICE, dtype)[8:]
    gate, up = F.linear(x.float(), weight.float()).chunk(2, dim=-1)
    assert_close(fused_gate.multiply(x, weight), F.silu(gate) * up, dtype)
    assert_close(fused_gate.gated_linear(x.view(1, tokens, inner), weight)[0], F.silu(gate) * up, dtype)


# --- the tests -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_device() -> Iterator[Callable[..., None]]:
    """Runs a function of this module where the kernels can run: on the GPU, or in the interpreter's process."""
    if GPU:
        yield lambda check, *arguments: check(*arguments)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            yield lambda check, *arguments: process.submit(check, *arguments).result()


# bfloat16 is for the GPU: numpy has no such type, so the interpreter cannot multiply it.
HALF = torch.bfloat16 if GPU else torch.float16


@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "block_size", "splits", "window", "dtype"),
    [
        pytest.param(4, 1, 128, 16, 1, None, torch.float32, id="grouped, two blocks a tile"),
        pytest.param(4, 1, 128, 16, 3, None, HALF, id="half precision, split"),
        pytest.param(2, 2, 128, 32, 2, 20, torch.float32, id="multi-head, window, split"),
        pytest.param(9, 3, 64, 64, 4, None, torch.float32, id="groups of three, more splits than tiles"),
        pytest.param(3, 1, 24, 128, 1, 33, torch.float16, id="odd head, window"),
        pytest.param(2, 1, 48, 256, None, None, torch.float32, id="odd head, one block, the rule's splits"),
        pytest.param(20, 1, 16, 1, 2, 5, torch.float32, id="twenty heads on one, blocks of one position"),
        pytest.param(2, 1, 8, 7, 1, None, torch.float32, id="blocks of seven"),
    ],
)
def test_decoding_equals_pytorch(
    on_device: Callable[..., None],
    heads: int,
    kv_heads: int,
    size: int,
    block_size: int,
    splits: int | None,
    window: int | None,
    dtype: torch.dtype,
) -> None:
    on_device(decode_like_sdpa, heads, kv_heads, size, block_size, splits, window, dtype)


@pytest.mark.parametrize(
    ("heads", "size", "where", "kind"),
    [(3, 24, [5, -1, 0, 8], torch.int64), (40, 128, [2, -7], torch.int32), (1, 64, [], torch.int64)],
)
def test_new_keys_and_values_go_where_they_belong_and_nowhere_else(
    on_device: Callable[..., None], heads: int, size: int, where: list[int], kind: torch.dtype
) -> None:
    on_device(placed_as_they_are, heads, size, where, kind)


@pytest.mark.parametrize(
    ("query_heads", "heads", "size", "where", "kind", "dtype", "first"),
    [
        (6, 3, 24, [5, -1, 0, 8], torch.int64, torch.float32, 0),
        (40, 8, 128, [2, -7, 4], torch.int32, HALF, 1),
        (9, 3, 64, [3, 1], torch.int32, torch.float32, 2),
        (2, 1, 16, [], torch.int32, torch.float32, 0),
        (1, 1, 2, [0, 1, 2], torch.int64, torch.float32, 0),
    ],
)
def test_prompts_are_rotated_as_the_model_does_and_stored(
    on_device: Callable[..., None],
    query_heads: int,
    heads: int,
    size: int,
    where: list[int],
    kind: torch.dtype,
    dtype: torch.dtype,
    first: int,
) -> None:
    on_device(prompts_are_placed, query_heads, heads, size, where, kind, dtype, first)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(9, 1), (7, 7), (1, 1), (13, 4)], id="decoding, a prompt, a later chunk"),
        pytest.param([(5, 1), (18, 1)], id="decoding alone"),
        pytest.param([(5, 5), (11, 11)], id="prompts alone"),
    ],
)
def test_a_pass_serves_any_mixture(
    on_device: Callable[..., None], rows: list[tuple[int, int]], window: int | None
) -> None:
    on_device(static_like_sdpa, rows, window, HALF)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("rows", [[(7, 7), (2, 2), (12, 12)], [(7, 7), (9, 2), (12, 5)]])
def test_prompts_are_packed_as_flash_attention_reads_them(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int]], window: int | None
) -> None:
    """FlashAttention itself needs a GPU; on a CPU its contract is played by a loop over the rows it is given."""

    def flash(q: Tensor, k: Tensor, v: Tensor, packed: varlen.PackedPrompts, scale: float, before: int) -> Tensor:
        asks, sees = packed.cu_seqlens_q.tolist(), packed.cu_seqlens_k.tolist()
        assert max(b - a for a, b in pairwise(asks)) == packed.longest_queries
        assert max(b - a for a, b in pairwise(sees)) == packed.longest_context
        assert len(k) == sees[-1]
        return flash_by_loop(q, k, v, packed, scale, before)

    monkeypatch.setattr(varlen, "_flash", lambda: flash)
    cache = Paged([context for context, _ in rows], 2, 16, 4, torch.float32)
    batch = varlen_batch(cache, [asks for _, asks in rows])
    query = cache.normal(batch.cu_seqlens[-1], 4, 16)
    packed = packed_prompts(cache, [asks for _, asks in rows])
    sdpa = SdpaAttention()
    sdpa.prepare(batch, DEVICE)
    expected = sdpa.attend(query, cache.keys, cache.values, scale=0.25, window=window, batch=batch)
    fresh = (cache.keys[batch.slot_mapping], cache.values[batch.slot_mapping])
    for new in (fresh, (None, None)):
        out = varlen.prefill(query, *new, cache.keys, cache.values, packed, scale=0.25, window=window)
        torch.testing.assert_close(out, expected)
    assert packed.fresh == all(context == asks for context, asks in rows)


@pytest.mark.parametrize(
    ("tokens", "inner", "width"),
    [(1, 64, 64), (20, 192, 128), (65, 64, 192), (129, 128, 128), (257, 64, 64), (769, 64, 64)],
)
def test_gate_and_up_in_one_kernel(on_device: Callable[..., None], tokens: int, inner: int, width: int) -> None:
    on_device(gate_like_pytorch, tokens, inner, width, HALF)


@pytest.mark.skipif(GPU, reason="what plays FlashAttention here cannot be captured into a graph")
def test_whole_answers_through_the_kernels_are_the_models(on_device: Callable[..., None]) -> None:
    on_device(kernels_answer_as_the_model)


@pytest.mark.parametrize("call", [varlen._flash(), varlen._operator])
def test_this_pytorch_takes_the_call(call: Callable[..., Tensor]) -> None:
    """The way to FlashAttention that is chosen here, and the one of older versions, on tensors without numbers."""
    with FakeTensorMode():
        bounds = torch.empty(3, dtype=torch.int32)
        packed = varlen.PackedPrompts(bounds, bounds, 5, 5, True, torch.empty(10, dtype=torch.int64))
        query = torch.empty(10, 8, 64, dtype=torch.bfloat16)
        keys = torch.empty(10, 2, 64, dtype=torch.bfloat16)
        assert call(query, keys, keys, packed, 0.125, -1).shape == query.shape


def third(sm: tuple[int, int], monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    """As if this were a GPU of a compute capability, and `flash_attn_interface` a module, absent, or an error."""

    def imported(name: str) -> object:
        if module is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(module, Exception):
            raise module
        return module

    flash3._function.cache_clear()
    monkeypatch.setattr(flash3, "capability", lambda device: SimpleNamespace(sm=sm))
    monkeypatch.setattr(flash3, "import_module", imported)


@pytest.fixture
def forget_third() -> Iterator[None]:
    yield
    flash3._function.cache_clear()


@pytest.mark.usefixtures("forget_third")
@pytest.mark.parametrize(("window", "bounds"), [(None, (-1, -1)), (3, (2, 0))])
@pytest.mark.parametrize("sums", [False, True])
def test_long_prompts_go_to_the_third_flash_attention(
    monkeypatch: pytest.MonkeyPatch, window: int | None, bounds: tuple[int, int], sums: bool
) -> None:
    asked: dict[str, Any] = {}

    def function(q: Tensor, k: Tensor, v: Tensor, **others: Any) -> Tensor | tuple[Tensor, ...]:
        asked.update(others)
        before = others["window_size"][0]
        out = flash_by_loop(q, k, v, packed, others["softmax_scale"], before)
        return (out, out) if sums else out

    third((9, 0), monkeypatch, SimpleNamespace(flash_attn_varlen_func=function))
    monkeypatch.setattr(flash3, "LONG_PROMPT", 7)
    cache = Paged([7, 5], 2, 16, 4, torch.float32)
    packed = packed_prompts(cache, [7, 5])
    query = cache.normal(12, 4, 16)
    fresh = (
        torch.cat([cache.keys[place] for place in cache.places]),
        torch.cat([cache.values[p] for p in cache.places]),
    )
    out = varlen.prefill(query, *fresh, cache.keys, cache.values, packed, scale=0.25, window=window)
    expected = [reference(part, cache, row, 0.25, window) for row, part in enumerate(query.split([7, 5]))]
    torch.testing.assert_close(out, torch.cat(expected))
    assert (asked["causal"], asked["window_size"], asked["max_seqlen_q"]) == (True, bounds, 7)


@pytest.mark.usefixtures("forget_third")
def test_where_the_third_flash_attention_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    there = SimpleNamespace(flash_attn_varlen_func=lambda *_: None)
    third((9, 0), monkeypatch, there)
    assert flash3.serves(DEVICE, flash3.LONG_PROMPT)
    assert not flash3.serves(DEVICE, flash3.LONG_PROMPT - 1)
    third((8, 0), monkeypatch, there)
    assert not flash3.serves(DEVICE, 2048)
    third((9, 0), monkeypatch, None)
    assert not flash3.serves(DEVICE, 2048)
    assert not recwarn.list
    for broken in (OSError("undefined symbol"), SimpleNamespace(), ModuleNotFoundError("no 'einops'", name="einops")):
        third((9, 0), monkeypatch, broken)
        assert not flash3.serves(DEVICE, 2048)
        assert not flash3.serves(DEVICE, 2048)
        assert "FlashAttention-2 serves prompts instead" in str(recwarn.pop(RuntimeWarning).message)
        assert not recwarn.list, "it is said once"


def test_flash_attention_says_what_it_cannot_do() -> None:
    assert "not on cpu" in str(varlen.refusal(torch.empty(1, 1, 64, dtype=torch.float16)))


@given(
    rows=st.integers(1, 512),
    kv_heads=st.integers(1, 64),
    head_size=st.integers(1, 512),
    block_size=st.integers(1, 4096),
    context=st.integers(1, 2**17),
)
def test_the_plan_splits_until_the_device_is_busy_and_never_below_a_tile(
    rows: int, kv_heads: int, head_size: int, block_size: int, context: int
) -> None:
    processors = 132
    launch = triton_decode.plan(
        rows,
        kv_heads,
        group=4,
        head_size=head_size,
        itemsize=2,
        block_size=block_size,
        context=context,
        processors=processors,
    )
    programs = rows * kv_heads * launch.splits
    assert launch.splits == 1 or (programs <= 3 * processors and launch.splits * launch.tile <= context)
    twice = 2 * launch.splits
    assert 2 * programs > 3 * processors or twice * launch.tile > context or twice > 32
    for number in (launch.tile, launch.splits, launch.warps):  # as Triton wants them
        assert number & (number - 1) == 0


@pytest.mark.parametrize(("rows", "tile"), [(1, 128), (32, 128), (128, 32), (256, 32)])
def test_small_heads_get_short_tiles_where_the_rows_alone_fill_the_device(rows: int, tile: int) -> None:
    launch = triton_decode.plan(rows, 3, group=3, head_size=64, itemsize=2, block_size=32, context=4096, processors=132)
    assert (launch.tile, launch.warps) == (tile, 1 if tile == 32 else 4)
    assert (launch.splits == 1) == (rows >= 128)


def test_what_does_not_fit_is_refused(on_device: Callable[..., None]) -> None:
    on_device(misfits_are_refused)


def misfits_are_refused() -> None:
    cache = Paged([3, 4], 2, 16, 4, torch.float32)
    good = {"query": cache.normal(2, 4, 16), "keys": cache.keys, "values": cache.values, "tables": cache.tables}
    good |= {"slot": cache.slot, "context": cache.context}
    bad: list[dict[str, object]] = [
        {"query": cache.normal(2, 3, 16)},
        {"query": cache.normal(2, 4, 8)},
        {"query": cache.normal(2, 16, 4).transpose(1, 2)},
        {"slot": cache.slot[:1]},
        {"context": cache.context[:1]},
        {"keys": cache.keys[:, :1]},
        {"keys": cache.keys.transpose(0, 1).contiguous().transpose(0, 1)},
        {"newest": (cache.keys[:2], cache.values[:1])},
        {"rotary": (cache.keys[:2, 0], cache.keys[:1, 0])},
        {"rotary": (cache.keys[:2, 0, :8], cache.keys[:2, 0, :8])},
    ]
    for misfit in bad:
        with pytest.raises(EngineError):
            triton_decode.decode(**(good | misfit), block_size=4, scale=1.0)  # type: ignore[arg-type]
    odd = Paged([3, 4], 2, 15, 4, torch.float32)
    with pytest.raises(EngineError, match="15 numbers cannot be rotated"):
        triton_decode.decode(
            cache.normal(2, 4, 15),
            odd.keys,
            odd.values,
            odd.tables,
            odd.slot,
            odd.context,
            block_size=4,
            scale=1.0,
            rotary=(odd.keys[:2, 0], odd.keys[:2, 0]),
        )
    new = cache.keys[:2], cache.keys[:2], cache.values[:2], cache.keys, cache.values
    where = cache.slot[:2]
    for angle in (cache.keys[:1, 0], cache.keys[:2, 0, :8]):
        with pytest.raises(EngineError, match=r"cosines .* do not fit"):
            triton_prompt.place(*new, where, (angle, angle))
    odd_new = odd.keys[:2], odd.keys[:2], odd.values[:2], odd.keys, odd.values
    with pytest.raises(EngineError, match=r"15\), the second an even number"):
        triton_prompt.place(*odd_new, where, (odd.keys[:2, 0], odd.keys[:2, 0]))
    sparse = torch.stack(new[:2], dim=-1)[..., 0]
    with pytest.raises(EngineError, match="must be contiguous"):
        triton_prompt.place(sparse, *new[1:], where, (cache.keys[:2, 0], cache.keys[:2, 0]))
    for misplaced in ((*new, where[:1]), (new[0], new[1], new[2][:1], *new[3:], where), (new[0][:1], *new[1:], where)):
        with pytest.raises(EngineError, match="do not fit a cache"):
            triton_prompt.place(*misplaced)


def test_without_triton_the_modules_import_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for module in (kernels, triton_decode, triton_prompt):
        monkeypatch.delitem(sys.modules, module.__name__)
    afresh = [importlib.import_module(module.__name__) for module in (kernels, triton_decode, triton_prompt)]
    assert not afresh[0].available()
    cache, where = torch.zeros(4, 1, 8), torch.zeros(1, dtype=torch.int64)
    for call in (
        lambda: afresh[1].decode(cache[:1], cache, cache, where[:, None], where, where, block_size=4, scale=1.0),
        lambda: afresh[2].place(cache[:1], cache[:1], cache[:1], cache, cache, where),
    ):
        with pytest.raises(EngineError, match="Triton is not installed"):
            call()


def test_without_a_device_the_kernels_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: False)
    with pytest.raises(EngineError, match="CUDA GPU"):
        TritonStaticAttention(DEVICE)

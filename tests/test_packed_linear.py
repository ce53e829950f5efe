"""Weights laid out for few rows: same products, the caller's model untouched, one copy for all engines of a model."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from torch import nn

from cbviz.eager import packed_linear
from cbviz.eager.packed_linear import FEW_ROWS, PackedLinear, onednn_packs, pack_linears
from cbviz.eager.sibling_linear import JointProduct, SiblingLinear
from cbviz.models.modules import twin
from cbviz.policies import Static
from tests.shapes import ARCHITECTURES, make, solo
from tests.test_engine_answers import Jumpy, requests, serve

pytestmark = pytest.mark.skipif(not onednn_packs(), reason="this PyTorch cannot pack weights here")


@pytest.fixture(autouse=True)
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether packing is faster depends on the processor; what it computes does not."""
    monkeypatch.setattr(packed_linear, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(packed_linear, "LEAST_GAIN_TOGETHER", 0.0)
    monkeypatch.setattr(packed_linear, "_faster", {})


def net(bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 512, bias=bias), nn.Linear(512, 256, bias=bias), nn.Linear(256, 16))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 8, FEW_ROWS, FEW_ROWS + 1, 300])
def test_products_are_those_of_the_plain_layers(rows: int, bias: bool) -> None:
    plain, packed = net(bias), net(bias)
    assert pack_linears(packed, 8) == 2 * 4 * 256 * 512, "the third is too small to matter"
    assert [type(layer) for layer in packed] == [PackedLinear, PackedLinear, nn.Linear]
    with torch.inference_mode():
        for shape in ((rows, 256), (1, rows, 256)):
            x = torch.randn(shape)
            torch.testing.assert_close(packed(x), plain(x), rtol=1e-5, atol=1e-5)


def test_engines_share_one_layout_until_the_last_has_gone() -> None:
    model = net()
    engines = [nn.Sequential(*model), nn.Sequential(*model)]
    for engine in engines:
        pack_linears(engine, 8)
    assert engines[0][0].layout is engines[1][0].layout
    assert type(model[0]) is nn.Linear
    before = len(packed_linear._layouts)
    del engines, engine
    gc.collect()
    assert len(packed_linear._layouts) == before - 2


@pytest.mark.parametrize("change", ["in place", "behind autograd's back"])
def test_a_weight_that_has_changed_is_laid_out_anew(change: str) -> None:
    model = net()
    old, new = nn.Sequential(*model), nn.Sequential(*model)
    pack_linears(old, 8)
    with torch.no_grad():
        (model[0].weight.data if "autograd" in change else model[0].weight)[3, 5] += 1
    pack_linears(new, 8)
    x = torch.randn(4, 256)
    with torch.inference_mode():
        torch.testing.assert_close(new(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "free"),
    [
        (net().to(torch.bfloat16), 2**40),
        (net().to("meta"), 2**40),
        (net(), 2**20),
        (nn.Sequential(nn.Linear(8, 8)), 2**40),
    ],
    ids=["bfloat16", "no data", "no memory", "small"],
)
def test_others_stay_as_they_are(model: nn.Module, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "available_bytes", lambda: free)
    assert pack_linears(model, 8) == 0
    assert all(type(layer) is nn.Linear for layer in model)


def test_a_layer_with_a_hook_keeps_it() -> None:
    model, seen = net(), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    pack_linears(model, 8)
    model(torch.randn(2, 256))
    assert seen == [1]
    assert type(model[0]) is nn.Linear


def test_a_processor_without_the_operators_computes_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(packed_linear, "_packed", missing)
    assert onednn_packs.__wrapped__() is False
    monkeypatch.setattr(packed_linear, "onednn_packs", onednn_packs.__wrapped__)
    model = net()
    assert pack_linears(model, 8) == 0


def test_where_the_layout_is_slower_it_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "LEAST_GAIN", 1e9)
    model = net()
    before = set(packed_linear._layouts)
    assert pack_linears(model, 8) == 0
    assert all(type(layer) is nn.Linear for layer in model)
    gc.collect()
    assert not set(packed_linear._layouts) - before


def test_the_callers_model_keeps_its_layers() -> None:
    model = make("llama")
    copied = twin(model)
    pack_linears(copied, 8)
    assert not any(isinstance(module, PackedLinear) for module in model.modules())


# ---------------------------------------------------------------------- linears of one input


@pytest.fixture
def everything_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models for tests are packed like large ones."""
    monkeypatch.setattr(packed_linear, "SMALLEST", 1)
    monkeypatch.setattr("cbviz.eager.forward.SMALL", 0)


@pytest.mark.usefixtures("everything_is_packed")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_those_of_generate(architecture: str) -> None:
    model, work = make(architecture), requests(8, seed=5)
    alone = {r.id: solo(model, r) for r in work}
    assert serve(model, Jumpy(), work) == alone
    assert serve(model, Static(), work) == alone


@pytest.mark.usefixtures("everything_is_packed")
@pytest.mark.parametrize(("architecture", "groups"), [("llama", 6), ("qwen2", 6), ("opt", 3), ("gpt2", 0)])
def test_which_projections_become_one(architecture: str, groups: int) -> None:
    copied = twin(make(architecture))
    pack_linears(copied, 8)
    siblings = [part for part in copied.modules() if isinstance(part, SiblingLinear)]
    assert len({id(part.joint) for part in siblings}) == groups
    linears = [part for part in copied.modules() if isinstance(part, nn.Linear | PackedLinear | SiblingLinear)]
    assert not any(type(part) is nn.Linear for part in linears)


class Attention(nn.Module):
    """Three projections, of which a test calls which it likes."""

    def __init__(self, biases: tuple[bool, bool, bool] = (True, False, True)) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.q_proj = nn.Linear(256, 512, bias=biases[0])
        self.k_proj = nn.Linear(256, 128, bias=biases[1])
        self.v_proj = nn.Linear(256, 128, bias=biases[2])


@pytest.mark.parametrize("biases", [(False, False, False), (True, False, True)])
@pytest.mark.parametrize("rows", [1, 8, FEW_ROWS, FEW_ROWS + 1])
def test_the_parts_of_one_product_are_the_products(rows: int, biases: tuple[bool, bool, bool]) -> None:
    plain = Attention(biases)
    fused = twin_of(plain)
    both = (fused.q_proj, fused.k_proj, fused.v_proj)
    with torch.inference_mode():
        x, other = torch.randn(1, rows, 256), torch.randn(1, 5, 256)
        for _ in range(2):  # the second round finds nothing of the first
            for name in ("v_proj", "q_proj", "k_proj", "k_proj"):  # in any order, one of them twice
                found, wanted = getattr(fused, name)(x), getattr(plain, name)(x)
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
                assert found.is_contiguous()
        # Cross-attention: queries of one input, keys and values of another.
        for name, given in (("q_proj", x), ("k_proj", other), ("v_proj", other)):
            wanted = getattr(plain, name)(given)
            torch.testing.assert_close(getattr(fused, name)(given), wanted, rtol=1e-5, atol=1e-5)
    assert all(isinstance(part, SiblingLinear) for part in both)


def twin_of(plain: Attention) -> Attention:
    """Its own modules over the same weights, packed."""
    fused = Attention()
    for name, child in plain.named_children():
        setattr(fused, name, nn.Linear(1, 1))
        getattr(fused, name).__dict__.update(child.__dict__)
    assert pack_linears(fused, 8) == sum(part.weight.nbytes for part in plain.children())
    return fused


def test_a_joint_product_is_computed_once_for_all_and_then_let_go() -> None:
    calls: list[int] = []

    def product(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.cat([x, 2 * x], -1)

    joint, x = JointProduct(product, [3, 3], FEW_ROWS), torch.ones(2, 3)
    assert joint.part(0, x).tolist() == [[1] * 3] * 2
    assert joint.part(1, x).tolist() == [[2] * 3] * 2
    assert len(calls) == 1
    assert joint._input is None
    assert joint.part(1, torch.ones(2, 3)).tolist() == [[2] * 3] * 2, "an equal tensor is another one"
    assert len(calls) == 2


def test_engines_share_one_joint_layout_and_there_is_no_second() -> None:
    plain = Attention()
    before = set(packed_linear._layouts)
    engines = [twin_of(plain), twin_of(plain)]
    made = set(packed_linear._layouts) - before
    assert [len(key) for key in made] == [3], "one layout for the three weights, and none for each of them"
    del engines
    gc.collect()
    assert not set(packed_linear._layouts) & made


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [
        ({3: (10.0, 9.0, 8.0)}, SiblingLinear),
        ({3: (10.0, 5.0, 5.0), 1: (10.0, 5.0)}, PackedLinear),
        ({3: (5.0, 5.0, 5.0), 1: (5.0, 5.0)}, nn.Linear),
    ],
    ids=["together", "each", "plain"],
)
def test_the_fastest_way_is_taken(
    seconds: dict[int, tuple[float, ...]], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fastest(*products: Callable[[], object]) -> list[float]:
        return list(seconds[1 if len(products) == 2 else 3])

    monkeypatch.setattr(packed_linear, "LEAST_GAIN", 1.1)
    monkeypatch.setattr(packed_linear, "LEAST_GAIN_TOGETHER", 1.02)
    monkeypatch.setattr(packed_linear, "_fastest", fastest)
    monkeypatch.setattr(packed_linear, "SMALLEST", 1)
    attention = Attention()
    pack_linears(attention, 8)
    assert {type(part) for part in attention.children()} == {kind}

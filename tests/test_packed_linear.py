"""Weights laid out for few rows: same products, the caller's model untouched, one copy for all engines of a model."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from cbviz.eager import packed_linear
from cbviz.eager.packed_linear import FEW_ROWS, PackedLinear, onednn_packs, pack_linears
from cbviz.models.modules import twin
from tests.shapes import make

pytestmark = pytest.mark.skipif(not onednn_packs(), reason="this PyTorch cannot pack weights here")


@pytest.fixture(autouse=True)
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether packing is faster depends on the processor; what it computes does not."""
    monkeypatch.setattr(packed_linear, "LEAST_GAIN", 0.0)
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

"""Eager passes on a GPU leave cuDNN's attention out, and put the process's setting back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cbviz.eager import forward
from cbviz.eager.no_cudnn import without_cudnn
from cbviz.models import load


@pytest.fixture(params=[True, False])
def setting(request: pytest.FixtureRequest) -> Any:
    before = bool(torch.backends.cuda.cudnn_sdp_enabled())
    torch.backends.cuda.enable_cudnn_sdp(request.param)
    yield request.param
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_the_setting_is_put_back_by_the_last_one_to_leave(setting: bool) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_cudnn():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with without_cudnn():
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        thread.start()
        assert entered.wait(10)
    assert not torch.backends.cuda.cudnn_sdp_enabled(), "the other one is still inside"
    leave.set()
    thread.join(10)
    assert torch.backends.cuda.cudnn_sdp_enabled() is setting


def test_an_error_puts_it_back(setting: bool) -> None:
    with pytest.raises(ZeroDivisionError), without_cudnn():
        1 / 0  # noqa: B018
    assert torch.backends.cuda.cudnn_sdp_enabled() is setting


def test_passes_on_a_gpu_run_without_it_and_others_do_not() -> None:
    """What the forward pass of an executor runs in, by its device; the model itself stays on the CPU here."""
    model = load("tiny", device="cpu", progress=False).model

    def around(device: str) -> Any:
        shown: Any = SimpleNamespace(device=torch.device(device), parameters=model.parameters)
        none: Any = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "zeros", lambda *_, **__: none)
            patch.setattr(forward, "SlotSampling", lambda *_: none)
            made = forward.VarlenForward(
                shown, none, slots=1, cache=none, backend=none, rules=none, width=1
            )  # fmt: skip
        return made._around

    assert around("cuda") is without_cudnn
    assert around("cpu") is forward.one_thread

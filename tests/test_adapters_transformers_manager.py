"""What a manager of transformers must be for a recording, and what `run` and `Recording` both refuse."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from transformers.generation.continuous_batching import scheduler as theirs

from cbviz.adapters import transformers_cb
from cbviz.adapters.transformers_cb import Recording
from cbviz.adapters.transformers_cb.schedulers import registered, reporting
from cbviz.errors import AdapterError
from cbviz.models import LoadedModel, load
from cbviz.trace import TraceMeta
from tests.test_adapters_transformers import FORCED, manager_of

IDLE = 1.0
"""Seconds."""


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


@pytest.mark.parametrize(
    "settings", [{"repetition_penalty": 1.5}, {"suppress_tokens": [7]}, {"no_repeat_ngram_size": 2}]
)
def test_a_manager_whose_settings_change_logits_is_refused(tiny: LoadedModel, settings: dict[str, Any]) -> None:
    said = f"generation config of this manager changes its logits ({next(iter(settings))} "
    with pytest.raises(AdapterError, match=re.escape(said)):
        Recording(manager_of(tiny, "fifo", **settings))


def test_a_manager_with_a_setting_that_no_engine_honours_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(AdapterError) as refused:
        Recording(manager_of(tiny, "fifo", num_beams=3))
    assert str(refused.value) == (
        "the model's generation config sets num_beams = 3, which cannot be honoured; make the manager with a "
        "generation config that leaves it out."
    )


@pytest.mark.parametrize("version", ["5.30.0", "4.57.1"])
def test_a_recording_refuses_another_version_by_name(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    manager = manager_of(tiny, "fifo")
    monkeypatch.setattr(transformers, "__version__", version)
    with pytest.raises(AdapterError, match=rf"^transformers {re.escape(version)} is installed; this adapter knows"):
        Recording(manager)


@pytest.mark.parametrize("other", [None, 5, "manager", SimpleNamespace(is_running=lambda: False)])
def test_what_is_no_manager_is_refused(other: Any) -> None:
    with pytest.raises(AdapterError, match=r"^manager must be a ContinuousBatchingManager, as .* makes it, not .*\.$"):
        Recording(other)


@pytest.mark.parametrize("known", [[1], {"a": 5}, {3: FORCED.requests[0]}])
def test_requests_that_are_no_table_are_refused(tiny: LoadedModel, known: Any) -> None:
    with pytest.raises(AdapterError, match=r"^known must be a dict of transformers' request id and Request, not "):
        Recording(manager_of(tiny, "fifo"), known)


def test_async_batching_on_a_cpu_is_refused_before_anything_runs(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = r"^async_batching needs a device of type cuda or xpu, and this model is on cpu; leave it out\.$"
    manager = manager_of(tiny, "fifo", async_batching=True)
    with pytest.raises(AdapterError, match=said):
        Recording(manager)
    monkeypatch.setattr(tiny.model, "init_continuous_batching", lambda **_: pytest.fail("it was made"))
    with pytest.raises(AdapterError, match=said):
        transformers_cb.run(FORCED, tiny, async_batching=True)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_run_begins_with_its_first_request(tiny: LoadedModel, is_known: bool) -> None:
    """A manager that waits for work makes no run longer."""
    work = [replace(request, arrival=0.25) for request in FORCED]
    with registered("fifo", reporting(theirs.FIFOScheduler)) as kind:
        manager = manager_of(tiny, kind)
        recording = Recording(manager, {str(request.id): request for request in work} if is_known else None)
        manager.start()
        time.sleep(IDLE)
        asked = time.perf_counter()
        for request in work:
            manager.add_request(list(request.prompt), str(request.id), max_new_tokens=request.output_length)
        answered = 0
        while answered < len(work):
            answered += manager.get_result(timeout=1) is not None
        took = time.perf_counter() - asked
        manager.stop()
    trace = recording.ledger.trace(TraceMeta("theirs", "", slots=recording.ledger.slots, block_size=1, total_blocks=0))
    assert trace.requests.arrival.min() == (0.25 if is_known else 0.0)
    assert trace.seconds - trace.requests.arrival.min() < took

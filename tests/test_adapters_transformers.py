"""transformers' continuous batching on our board, and our policies in its scheduler, on a CPU with `tiny`."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import scheduler as theirs
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState, RequestStatus

import cbviz
from cbviz.adapters import transformers_cb
from cbviz.adapters.transformers_cb import Recording
from cbviz.adapters.transformers_cb.schedulers import TYPE_PREFIX, registered, reporting
from cbviz.errors import AdapterError, EngineError, PolicyError
from cbviz.events import FinishReason, State
from cbviz.models import LoadedModel, load
from cbviz.policies import Plan, Policy, View
from cbviz.run.model_workload import choose_workload
from cbviz.trace import Trace, TraceMeta
from cbviz.workload import Request, Sampling, Workload
from tests.test_adapters_driving import Chunks, SmallestFirst

SLOTS = 3
LENGTHS = (5, 14, 2, 9, 11, 4)
FORCED = Workload(
    "forced", tuple(Request(i, tuple(range(3, 11 + 3 * i)), 20, output_length=n) for i, n in enumerate(LENGTHS))
)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


def one_at_a_time(model: LoadedModel, workload: Workload) -> tuple[tuple[int, ...], ...]:
    """Each answer by `generate`, alone."""
    answers = []
    for request in workload:
        forced = request.output_length
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=forced or request.max_new_tokens,
            eos_token_id=[-1] if forced else [*model.end_tokens, *request.stop_tokens],
            pad_token_id=0,
        )
        prompt = torch.tensor([request.prompt])
        out = model.model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
        answers.append(tuple(out[0, len(request.prompt) :].tolist()))
    return tuple(answers)


def same_schedule(ours: Trace, other: Trace) -> None:
    for name in ("admitted", "finished", "slot", "reason"):
        assert getattr(ours.requests, name).tolist() == getattr(other.requests, name).tolist(), name
    for name in ("prefill_tokens", "prefill_slots", "decode_slots", "generated", "waiting"):
        assert getattr(ours.iterations, name).tolist() == getattr(other.iterations, name).tolist(), name


@pytest.fixture(scope="module")
def answers(tiny: LoadedModel) -> tuple[tuple[int, ...], ...]:
    return one_at_a_time(tiny, FORCED)


@pytest.mark.parametrize("scheduler", ["fifo", "prefill_first"])
def test_answers_and_schedule_of_a_real_run(tiny: LoadedModel, scheduler: str) -> None:
    work = choose_workload(tiny, requests=6)
    trace = transformers_cb.run(work, tiny, slots=SLOTS, scheduler=scheduler)
    assert trace.requests.tokens == one_at_a_time(tiny, work)
    assert set(trace.requests.reason.tolist()) == {FinishReason.END}
    assert "".join(trace.requests.pieces[0]) == tiny.decode(trace.requests.tokens[0])
    ours = cbviz.race(tiny, workload=work, slots=SLOTS, policies=("continuous",), repeats=1, live=False).traces[0]
    same_schedule(ours, trace)  # with memory for all, its rule and ours are the same
    assert trace.meta.policy == f"transformers {scheduler}"
    assert trace.meta.policy_summary.in_language("zh") != trace.meta.policy_summary  # type: ignore[attr-defined]
    assert (trace.meta.slots, trace.meta.lag, trace.meta.clock, trace.meta.total_blocks) == (SLOTS, 0, "alone", 0)
    assert trace.meta.extra["left_out"] == ["KV blocks"]
    assert trace.meta.extra["engine"] == f"transformers {transformers.__version__}"
    assert "occupancy" in repr(cbviz.Board(ours, trace))


def test_the_model_and_the_schedulers_are_left_as_they_were(tiny: LoadedModel) -> None:
    before = tiny.model.config._attn_implementation, dict(theirs.SCHEDULER_MAPPING), vars(tiny.model).keys()
    settings = tiny.model.generation_config.to_dict()
    transformers_cb.run(FORCED, tiny, slots=SLOTS)
    assert (tiny.model.config._attn_implementation, dict(theirs.SCHEDULER_MAPPING), vars(tiny.model).keys()) == before
    assert tiny.model.generation_config.to_dict() == settings
    assert not logging.getLogger("ContinuousBatchingLogger").filters


def test_its_own_states_were_counted(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and admissions agree with transformers' own account of every request."""
    finished: dict[str, RequestState] = {}
    original = theirs.Scheduler.finish_request

    def finish(self: Any, name: str) -> None:
        finished[name] = self.active_requests[name]
        original(self, name)

    monkeypatch.setattr(theirs.Scheduler, "finish_request", finish)
    trace = transformers_cb.run(FORCED, tiny, slots=SLOTS)
    states = [finished[str(request.id)] for request in FORCED]
    assert trace.requests.tokens == tuple(tuple(state.generated_tokens) for state in states)
    assert trace.requests.prompt_tokens.tolist() == [len(state.initial_tokens) for state in states]
    began = [state.lifespan[0] for state in states]
    assert sorted(range(6), key=began.__getitem__) == sorted(range(6), key=trace.requests.admitted.tolist().__getitem__)


def test_memory_that_runs_out(tiny: LoadedModel) -> None:
    """transformers resets a request, which comes back under the same id with its output as part of its prompt."""
    shapes = ((tuple(range(3, 11 + i)), 24 + i) for i in range(6))
    work = Workload("tight", tuple(Request(i, prompt, 30, output_length=n) for i, (prompt, n) in enumerate(shapes)))
    trace = transformers_cb.run(work, tiny, slots=4, pages=7)
    assert trace.requests.preemptions.sum() > 0
    assert trace.iterations.recompute_tokens.sum() > 0
    assert trace.requests.tokens == one_at_a_time(tiny, work)


def test_a_small_budget_cuts_prompts(tiny: LoadedModel, answers: tuple[tuple[int, ...], ...]) -> None:
    trace = transformers_cb.run(FORCED, tiny, slots=SLOTS, max_batch_tokens=9)
    tokens = trace.iterations.prefill_tokens + trace.iterations.decode_slots
    assert tokens.max() == 9
    assert len(trace.iterations) > 20
    assert trace.requests.tokens == answers


def test_a_cached_prefix(tiny: LoadedModel) -> None:
    shared = tuple(range(3, 23))
    work = Workload("alike", tuple(Request(i, (*shared, 30 + i), 6, output_length=3) for i in range(3)))
    trace = transformers_cb.run(work, tiny, slots=1, page_size=4, prefix_cache=True)
    assert trace.requests.cached_tokens.tolist() == [0, 20, 20]
    assert trace.requests.tokens == one_at_a_time(tiny, work)


def test_arrivals_in_real_time(tiny: LoadedModel) -> None:
    requests = (Request(0, (5, 6, 7), 9, output_length=3), Request(1, (5, 6), 9, arrival=0.4, output_length=2))
    trace = transformers_cb.run(Workload("later", requests), tiny, slots=2)
    first = trace.iterations.t_start[trace.requests.admitted]
    assert trace.requests.arrival.tolist() == [0.0, 0.4]
    assert first[1] >= 0.4
    assert trace.requests.finished.min() >= 0


def test_a_stop_token_is_no_end(tiny: LoadedModel) -> None:
    plain = choose_workload(tiny, requests=1).requests[0]
    answer = one_at_a_time(tiny, Workload("plain", (plain,)))[0]
    stopped = Request(0, plain.prompt, plain.max_new_tokens, stop_tokens=(answer[1],))
    short = Request(1, plain.prompt, 1)
    trace = transformers_cb.run(Workload("stops", (stopped, short)), tiny, slots=2)
    cut = answer[: answer.index(answer[1]) + 1]
    assert trace.requests.tokens == (cut, answer[:1])
    assert trace.requests.reason.tolist() == [FinishReason.STOP, FinishReason.LENGTH]


@pytest.mark.parametrize("policy", ["continuous", "orca", "one_at_a_time", SmallestFirst(), Chunks()])
def test_our_policy_drives_its_scheduler(
    tiny: LoadedModel, answers: tuple[tuple[int, ...], ...], policy: str | Policy
) -> None:
    trace = transformers_cb.run(FORCED, tiny, slots=SLOTS, policy=policy)
    same_schedule(cbviz.schedule(policy, FORCED, slots=SLOTS), trace)
    assert trace.requests.tokens == answers
    assert trace.meta.policy.endswith(" in transformers")


@pytest.mark.parametrize("policy", ["static", "tgi", "sarathi", "vllm_v1"])
def test_a_policy_that_cannot_drive_it_is_refused_before_the_model_is_loaded(policy: str) -> None:
    with pytest.raises(
        AdapterError, match=rf"^policy '{policy}' .*, which transformers' continuous batching cannot do"
    ):
        transformers_cb.run(FORCED, "no/such-model", policy=policy)


class Later:
    """Behaves in rehearsals, and not in the engine."""

    name, summary = "later", "for tests"

    def __init__(self, do: str) -> None:
        self.do = do

    def plan(self, view: View) -> Plan:
        real = view.context_limit > 1000
        if real and self.do == "raise" and view.iteration == 2:
            raise ZeroDivisionError("by nothing")
        if real and self.do == "nothing":
            return Plan()
        if real and self.do == "pause" and view.iteration == 2:
            return Plan(pause={view.running[0].id: "tired"})
        return Plan(admit=view.fitting())


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("raise", PolicyError, "^policy 'later' raised ZeroDivisionError while planning iteration 2: by nothing"),
        ("pause", AdapterError, "^policy 'later' pauses request 0, which transformers' continuous batching cannot do"),
        ("nothing", AdapterError, "^policy 'later' admits none of the 6 waiting requests while nothing runs"),
    ],
)
def test_a_policy_that_fails_in_its_thread_is_reported_here(
    tiny: LoadedModel, caplog: pytest.LogCaptureFixture, do: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        transformers_cb.run(FORCED, tiny, slots=SLOTS, policy=Later(do), pages=100)
    assert not caplog.records


def test_a_budget_that_cannot_follow_the_policy_is_named(tiny: LoadedModel) -> None:
    with pytest.raises(AdapterError, match=r"did not follow policy 'continuous' in pass 0.*a larger max_batch_tokens"):
        transformers_cb.run(FORCED, tiny, slots=SLOTS, policy="continuous", max_batch_tokens=9)


def test_bad_input() -> None:
    work = Workload("one", (Request(0, (5, 6), 4),))
    sampled = Workload("drawn", (Request(0, (5, 6), 4, sampling=Sampling(temperature=1.0)),))
    counted = Workload("counted", (Request(0, (5, 6), 4, arrival=3),), arrival_unit="iterations")
    for bad, settings, message in (
        ([1], {}, "workload must be a Workload"),
        (sampled, {}, "request 0 samples its tokens"),
        (counted, {}, "cannot keep arrivals that count iterations"),
        (work, {"scheduler": "fair"}, r"scheduler must be 'fifo' or 'prefill_first', not 'fair'\.$"),
        (work, {"scheduler": []}, r"scheduler must be 'fifo' or 'prefill_first', not \[\]\.$"),
        (work, {"async_batching": "yes"}, r"^async_batching must be True or False, not 'yes'\.$"),
        (work, {"prefix_cache": 1}, r"^prefix_cache must be True or False, not 1\.$"),
        (work, {"model": 5}, r"^model must be a name for cbviz\.models\.load, or a LoadedModel, not 5\.$"),
        (work, {"slots": 0}, "slots must be a whole number"),
        (work, {"page_size": 2}, "page_size must be a whole number"),
        (work, {"pages": 1, "page_size": 4}, r"^1 pages of 4 positions cannot hold .* take at least 2 pages\.$"),
    ):
        with pytest.raises(AdapterError, match=message):
            transformers_cb.run(bad, **{"model": "tiny", "device": "cpu"} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["5.16.2", "5.24.0", "4.57.1"])
def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(transformers, "__version__", version)
    with pytest.raises(
        AdapterError, match=rf"^transformers {version} is installed; this adapter knows transformers 5\.17"
    ):
        transformers_cb.run(FORCED)


def test_settings_that_change_logits_are_refused(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 1.3)
    with pytest.raises(AdapterError, match=r"generation config of tiny changes its logits .*1\.3"):
        transformers_cb.run(FORCED, tiny)


def test_an_engine_that_fails_is_one_sentence(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(tiny.model, "forward", broken)
    with pytest.raises(EngineError, match=r"failed in the middle of the run: the device is gone\.$"):
        transformers_cb.run(FORCED, tiny, slots=SLOTS)


def manager_of(model: LoadedModel, scheduler: str, async_batching: bool | None = None, **settings: Any) -> Any:
    general = GenerationConfig(do_sample="num_return_sequences" in settings, eos_token_id=-1, **settings)
    config = ContinuousBatchingConfig(
        scheduler_type=scheduler, num_blocks=40, max_batch_tokens=64, use_async_batching=async_batching
    )
    return model.model.init_continuous_batching(generation_config=general, continuous_batching_config=config)


def test_a_manager_of_the_callers_own_is_recorded(tiny: LoadedModel) -> None:
    with registered("fifo", reporting(theirs.FIFOScheduler)) as kind:
        manager = manager_of(tiny, kind)
        recording = Recording(manager)
        for request in FORCED:
            manager.add_request(list(request.prompt), max_new_tokens=request.output_length)
        manager.start()
        answered = 0
        while answered < len(FORCED):
            answered += manager.get_result(timeout=1) is not None
        manager.stop()
    trace = recording.ledger.trace(TraceMeta("theirs", "", slots=recording.ledger.slots, block_size=1, total_blocks=0))
    assert [len(tokens) for tokens in trace.requests.tokens] == list(LENGTHS)


def test_a_scheduler_that_was_not_found_is_noticed(tiny: LoadedModel) -> None:
    """transformers itself only warns, and schedules first in, first out."""
    manager = manager_of(tiny, TYPE_PREFIX + "fair")
    Recording(manager)
    with pytest.raises(AdapterError, match="made a FIFOScheduler where a scheduler that reports was registered"):
        manager._create_batch_processor()


def test_what_a_recording_cannot_show_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(AdapterError, match=r"^num_return_sequences is 2, and the copies of a request share"):
        Recording(manager_of(tiny, "fifo", num_return_sequences=2))
    swapping = manager_of(tiny, "fifo")
    swapping.continuous_batching_config.cpu_offload_space = 1.0
    with pytest.raises(AdapterError, match=r"^cpu_offload_space moves KV caches to host memory unseen"):
        Recording(swapping)
    started = manager_of(tiny, "fifo")
    started.is_running = lambda: True
    with pytest.raises(AdapterError, match=r"^this manager has started already"):
        Recording(started)


class AsyncEngine:
    """Fakes the order of transformers' async batching, where a pass is scheduled before the last one is updated.

    Schedules what `script` says: one list of (name, tokens) a pass.
    """

    def __init__(self, script: list[list[tuple[str, int]]], states: dict[str, RequestState]) -> None:
        self.script, self.states = iter(script), states
        self.scheduler: Any = reporting(type("Fake", (), {"schedule_batch": self.schedule}))()
        self.scheduler.active_requests, self.scheduler.waiting_requests = {}, dict(states)
        self.inputs_and_outputs = SimpleNamespace(prepare_batch_update=self.retrieve)
        self.in_flight: list[list[FutureRequestState]] = []

    def schedule(self, _: int, __: int) -> Any:
        batch = []
        for name, tokens in next(self.script):
            state = self.states[name]
            self.scheduler.waiting_requests.pop(name, None)
            self.scheduler.active_requests[name] = state
            ended = state.position_offset + tokens >= len(state.initial_tokens)
            state.status = RequestStatus.DECODING if ended else RequestStatus.PREFILLING
            batch.append(FutureRequestState(state, ended, {}, tokens))
        self.in_flight.append(batch)
        return batch, False, 0, 0

    def prepare_next_batch(self) -> bool:
        self.scheduler.schedule_batch(1, 1)
        for entry in self.in_flight[-1]:
            entry.state.position_offset += entry.query_length
        return True

    def retrieve(self) -> Any:
        batch = self.in_flight.pop(0)
        return batch, [50 + n for n, entry in enumerate(batch) if entry.has_new_token], None

    def update_batch(self) -> None:
        batch, tokens, _ = self.inputs_and_outputs.prepare_batch_update()
        given = iter(tokens)
        for entry in batch:
            token = next(given) if entry.has_new_token else None
            if entry.state.status in (RequestStatus.FINISHED, RequestStatus.PENDING):
                continue
            if token is not None and entry.state.update_and_check_completion(token, None):
                self.scheduler.active_requests.pop(entry.state.request_id)


def test_async_batching_computes_one_row_too_many() -> None:
    states = {
        "a": RequestState("a", [1, 2, 3], max_new_tokens=5, eos_token_id=50),
        "b": RequestState("b", [1, 2], max_new_tokens=2),
    }
    engine = AsyncEngine([[("a", 3)], [("a", 1), ("b", 2)], [("b", 1)]], states)
    manager = SimpleNamespace(
        is_running=lambda: False,
        generation_config=GenerationConfig(),
        num_return_sequences=1,
        continuous_batching_config=SimpleNamespace(cpu_offload_space=0.0),
        _create_batch_processor=lambda: engine,
    )
    recording = Recording(manager)
    processor = manager._create_batch_processor()
    assert manager._create_batch_processor() is processor  # hooked once, though a warm-up made it
    processor.prepare_next_batch()
    processor.prepare_next_batch()
    processor.update_batch()
    processor.prepare_next_batch()
    processor.update_batch()
    processor.update_batch()
    trace = recording.ledger.trace(TraceMeta("theirs", "", slots=2, block_size=1, total_blocks=0, lag=1))
    assert trace.requests.tokens == ((50,), (51, 50))
    assert trace.requests.reason.tolist() == [FinishReason.END, FinishReason.LENGTH]
    assert State(recording.ledger.iteration(1).state[0]) == State.HELD
    assert trace.iterations.held_slots.tolist() == [0, 1, 0]

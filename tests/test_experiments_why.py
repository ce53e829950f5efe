"""The policy inspector: a run is run again, and says why. Schedules worked by hand, and the policy as oracle."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import cbviz
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.messages import in_language
from cbviz.policies import TGI, Continuous, Orca, Plan, Policy, RequestLevel, Static, View, VllmV0, VllmV1
from cbviz.policies.check import check
from cbviz.run.race import Race, race
from cbviz.run.rerun import decision, policy_of
from cbviz.run.schedule import schedule
from cbviz.run.why import Why, _setting, answered, lane_why, why
from cbviz.trace import MARK_KINDS, RECORDINGS, Recorder, Trace, TraceMeta, load, recorded
from cbviz.view.language import speak
from cbviz.workload import Request, Workload
from tests.pictures import requests
from tests.schedulers import UNDER_TEST


def trace_of(policy: Policy, slots: int, work: list[Request], *, blocks: int = 4000, lag: int = 0) -> Trace:
    """Blocks of one position, and a context as long as the pool, so that memory is easy to count by hand."""
    by_arrival = tuple(sorted(work, key=lambda r: r.arrival))
    load_ = Workload("by hand", by_arrival, arrival_unit="iterations")
    return schedule(policy, load_, slots=slots, block_size=1, kv_blocks=blocks, context_limit=blocks, lag=lag)


def said(policy: Policy, trace: Trace, request: int, iteration: int) -> tuple[int | None, str, str]:
    (answer,) = lane_why(trace, policy, request, iteration).answers
    assert answer.request == request
    return answer.place, answer.verdict, answer.reason


# ------------------------------------------------------------------ schedules worked by hand


def test_static_closes_its_batch() -> None:
    """Two slots: 1 and 2 begin, 2 ends after 2 iterations and is held; 3 waits for 1, which ends after 4."""
    trace = trace_of(Static(), 2, requests([4, 2, 2]))
    batch = "a batch is running, and no request enters it before its longest has ended"
    assert said(Static(), trace, 3, 0) == (3, "waits", "the last free slot went to request 2")
    assert said(Static(), trace, 3, 1) == (1, "waits", batch)
    assert said(Static(), trace, 3, 3) == (1, "waits", batch)
    assert said(Static(), trace, 2, 2)[1:] == (
        "held",
        "its output has ended, and its batch keeps it in the slot to the end",
    )
    assert said(Static(), trace, 1, 3) == (None, "decodes", "")
    assert said(Static(), trace, 3, 4) == (1, "let in", "slot 0; decodes")
    assert said(Static(), trace, 2, 5) == (None, "gone", "it ended in iteration 1")


def test_continuous_waits_for_memory_and_none_overtakes() -> None:
    """10 positions: 1 takes 1 + 5, so 2 with 1 + 7 does not fit the 4 left, and 3 with 1 + 1 waits behind it."""
    trace = trace_of(Continuous(), 3, requests([5, 7, 1]), blocks=10)
    short = "it needs 8 KV blocks for its prompt + max_new_tokens, and 4 are free"
    assert said(Continuous(), trace, 2, 0) == (2, "waits", short)
    assert said(Continuous(), trace, 3, 0) == (3, "waits", f"behind request 2, which is put off: {short}")
    assert said(Continuous(), trace, 2, 5) == (1, "let in", "slot 0; decodes")


def test_orca_reserves_what_it_says() -> None:
    trace = trace_of(Orca("maximum"), 2, requests([3, 3]), blocks=10)
    assert said(Orca("maximum"), trace, 2, 0)[2] == "it needs 10 KV blocks for its reservation, and 0 are free"


def test_tgi_does_the_arithmetic_of_its_ratio() -> None:
    """The schedule of the first test of TGI: 3 comes at 1 beside two that run, ⌊2 × 1.2⌋ = 2 must wait."""
    trace = trace_of(TGI(), 6, requests([6, 4, 2, 3, 2], arrivals=[0, 0, 1, 2, 3]))
    asked = "a prefill that pauses 2 takes ⌊2 × 1.2⌋ = 2, or decodes since the last one to reach 20 (now 1)"
    assert said(TGI(), trace, 3, 1) == (1, "waits", f"1 wait, and {asked}")
    assert said(TGI(), trace, 3, 2) == (1, "let in", "slot 2; ratio met; decodes")
    assert said(TGI(), trace, 1, 2) == (None, "stalls", "ratio met")
    assert said(TGI(), trace, 5, 3)[2].startswith("a prefill has just paused the others")
    assert said(TGI(), trace, 5, 1) == (None, "not there yet", "it comes before iteration 3")


def test_tgi_counts_its_budgets() -> None:
    work = requests([8, 12, 2], prompts=[1, 1, 1])
    policy = TGI(max_batch_total_tokens=20, waiting_served_ratio=0)
    trace = trace_of(policy, 3, work)
    assert said(policy, trace, 2, 0)[2] == "with it newcomers may come to hold 22 tokens, and 20 are left of 20"
    few = TGI(max_batch_total_tokens=17)
    trace = trace_of(few, 4, requests([5, 5, 3, 3], arrivals=[0, 0, 1, 1]))
    assert said(few, trace, 3, 1)[2].startswith(
        "only 1 of the 2 that wait fit in now, and a prefill that pauses 2 takes"
    )


def test_vllm_v0_keeps_a_watermark() -> None:
    """10 positions, 2 kept: prompt 2 of 4 finds 6 beside prompt 1 of 4, and goes in; prompt 3 of 1 finds 2, and not."""
    policy = VllmV0(watermark=0.2)
    trace = trace_of(policy, 3, requests([1, 1, 1], prompts=[4, 4, 1]), blocks=10)
    reason = "it needs 1 KV block for its 1 token, and 2 are free, of which 2 stay free"
    assert said(policy, trace, 3, 0) == (3, "waits", reason)
    assert said(policy, trace, 2, 0) == (2, "let in", "slot 1; takes in all that it lacks: 4 tokens")


def test_vllm_v1_spends_a_budget_and_throws_out_the_newest() -> None:
    work = requests([4, 3, 2], prompts=[2, 7, 3])
    policy = VllmV1(max_num_batched_tokens=4)
    trace = trace_of(policy, 3, work)
    assert said(policy, trace, 2, 0) == (2, "let in", "slot 1; takes in a chunk: 2 of the 7 tokens that it lacks")
    assert said(policy, trace, 3, 0) == (3, "waits", "the budget of 4 tokens is spent")
    assert said(policy, trace, 2, 1) == (None, "takes in a chunk", "3 of the 5 tokens that it lacks")
    trace = trace_of(policy, 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert said(policy, trace, 2, 3) == (None, "thrown out", "request 1 needs its blocks")
    assert said(policy, trace, 2, 4)[2] == "it needs 5 KV blocks for its 5 tokens, and 2 are free"


def test_request_level_waits_for_company() -> None:
    """A batch of two, or the oldest has waited 5: request 1 has a batch of its own from 5 on; 2 comes at 6."""
    policy = RequestLevel(batch_size=2, window=5)
    trace = trace_of(policy, 2, requests([4, 1], arrivals=[0, 6]))
    assert said(policy, trace, 1, 0) == (1, "let in", "slot 0; decodes")
    assert said(policy, trace, 2, 1)[2].startswith("a batch is running")


def test_an_end_that_is_on_its_way_is_held() -> None:
    """With lag 1 the engine plans before it has seen an END; such a run needs a model, here one that ends at once."""

    class Ends(NullExecutor):
        end_tokens = ()

    executor = Ends(context_limit=50, seconds=1.0)
    first = executor.launch
    executor.launch = lambda step: replace(first(step), tokens=np.full(len(step.slot), 7, np.int32))  # type: ignore[method-assign]
    executor.end_tokens = (7,)  # type: ignore[misc]
    work = [Request(1, (1, 2), 9), Request(2, (1, 2), 9)]
    engine = Engine(executor, Continuous(), slots=1, pool=BlockPool(50, 1), lag=1)
    recorder = Recorder(TraceMeta("continuous", "", 1, 1, 50, lag=1), Workload("", tuple(work)))
    for event in engine.run(work):
        recorder.add(event)
    trace = recorder.trace()
    assert trace.iterations.held_slots.any()
    held = int(np.flatnonzero(trace.iterations.held_slots)[0])
    assert said(Continuous(), trace, 1, held)[1:] == (
        "held",
        "its END was still on its way from the device when this was planned",
    )


# ------------------------------------------------------------------ every policy, against what happened and would have


def drawn(rng: random.Random, n: int) -> list[Request]:
    sizes = [(rng.randint(1, 9), most := rng.randint(1, 11), rng.randint(1, most)) for _ in range(n)]
    return [
        Request(i, tuple(range(1, prompt + 1)), most, arrival=float(i // 2), output_length=length)
        for i, (prompt, most, length) in enumerate(sizes)
    ]


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("name", UNDER_TEST)
def test_what_it_says_is_what_happened(name: str, lag: int) -> None:
    """For every request in every iteration the verdict is the trace's; who waits with a slot left has a reason."""
    rng = random.Random(name)
    policy = UNDER_TEST[name]()
    trace = trace_of(policy, 3, drawn(rng, 9), blocks=24, lag=lag)
    spans = trace.spans
    for iteration in range(0, len(trace.iterations), 5):
        made = decision(trace, iteration, policy)
        states = {
            int(r): State(int(s))
            for r, s, a, b in zip(spans.request, spans.state, spans.first, spans.end, strict=True)
            if a <= iteration < b
        }
        here = trace.marks.iteration == iteration
        admitted = set(trace.marks.request[here & (trace.marks.kind == MARK_KINDS.index("admit"))].tolist())
        preempted = set(trace.marks.request[here & (trace.marks.kind == MARK_KINDS.index("preempt"))].tolist())
        for seen in (*made.view.waiting, *made.view.running, *made.view.finished):
            answer = answered(made, trace, seen.id)
            place, verdict, reason = answer.place, answer.verdict, answer.reason
            if seen.id in admitted:
                assert verdict == "let in"
            elif seen.id in preempted:
                assert verdict == "thrown out"
                assert reason
            elif place is not None:
                assert verdict == "waits"
                assert reason
                assert "gave no reason" not in reason, "a built-in policy knows why"
                assert seen.id not in states
            else:
                assert (verdict == "stalls") == (states.get(seen.id) == State.STALLED)
                assert (verdict == "held") == (states.get(seen.id) == State.HELD)
                assert (verdict == "gone") == (seen.id not in states)


@pytest.mark.parametrize("name", UNDER_TEST)
def test_a_lack_of_blocks_is_one(name: str) -> None:
    """A request that is said to lack KV blocks is let in once there are plenty, by the policy's own decision."""
    policy, found = UNDER_TEST[name](), 0
    for seed in range(4):
        trace = trace_of(policy, 3, drawn(random.Random(seed), 9), blocks=24)
        for iteration in range(0, len(trace.iterations), 4):
            made = decision(trace, iteration, policy)
            for request, reason in made.plan.put_off.items():
                if "KV blocks for" not in reason or made.plan.preempt:
                    continue
                found += 1
                plenty = replace(made.view, free_blocks=10_000, total_blocks=10_000)
                admitted = [entry.request for entry in check(policy.plan(plenty), plenty).admit]
                assert request in admitted or "budget" in str(policy.plan(plenty).put_off) or name.startswith("tgi")
    assert found or name in ("one_at_a_time", "request_level_tight", "tgi", "tgi_eager", "tgi_padded", "orca_maximum")


@pytest.mark.parametrize("name", ["vllm_v0", "vllm_v1", "sarathi", "continuous"])
def test_runs_that_share_prefixes_and_swap_are_run_again(name: str) -> None:
    """With the prompts the schedule is the same again, all its preemptions included; without them it departs."""
    rng, policy = random.Random(1), UNDER_TEST[name]()
    work = [replace(r, prompt=(1, 2, 3, 4, *(1000 * r.id + t for t in r.prompt))) for r in drawn(rng, 12)]
    trace = schedule(
        policy,
        Workload("", tuple(work), arrival_unit="iterations"),
        slots=4,
        block_size=2,
        kv_blocks=14,
        prefix_cache=True,
        preemption="swap",
        swap_blocks=6,
    )
    assert trace.iterations.prefix_hits.any()
    assert trace.requests.preemptions.any() or name == "continuous"
    prompts = {r.id: r.prompt for r in work}
    last = len(trace.iterations) - 1
    assert lane_why(trace, policy, 0, last, prompts).answers
    with pytest.raises(MeasureError, match="departs from its trace"):
        lane_why(trace, policy, 0, last)


# ------------------------------------------------------------------ policies of one's own


class ShortestFirst:
    """Gives no reasons, and lets no request in beside request 0."""

    name, summary = "shortest first", ""

    def plan(self, view: View) -> Plan:
        if any(r.id == 0 for r in view.running):
            return Plan()
        ordered = sorted(view.waiting, key=lambda r: r.prompt_tokens)[:1]
        return Plan(admit=[r for r in ordered if view.blocks_for(r.most) <= view.free_blocks])


def test_a_policy_without_reasons_is_asked_again() -> None:
    work = [Request(i, (1,) * n, 3, output_length=3) for i, n in enumerate([1, 2, 3])]
    trace = trace_of(ShortestFirst(), 3, work, blocks=20)
    assert said(ShortestFirst(), trace, 1, 1) == (
        1,
        "waits",
        "the policy gave no reason; asked again, it would let it in if nothing else were running",
    )
    assert said(ShortestFirst(), trace, 2, 1)[2].startswith(
        "the policy gave no reason; asked again, it would not let it in"
    )
    tight = trace_of(ShortestFirst(), 3, work[1:], blocks=9)
    assert said(ShortestFirst(), tight, 2, 1)[2].endswith("it would let it in if more KV blocks were free")


class Brooding(ShortestFirst):
    """Never done in a memory that it does not know."""

    def plan(self, view: View) -> Plan:
        while view.total_blocks > 20:
            pass
        return super().plan(view)


def test_a_policy_that_broods_when_it_is_asked_again_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("cbviz.run.why"), "SECONDS_TO_REPLAN", 0.2)
    work = [Request(i, (1,) * n, 3, output_length=3) for i, n in enumerate([1, 2])]
    trace = trace_of(Brooding(), 3, work, blocks=20)
    reason = said(Brooding(), trace, 1, 1)[2]
    assert reason == "the policy gave no reason; asked again, it was not done with its plan after 0.2 seconds"
    assert said(ShortestFirst(), trace_of(ShortestFirst(), 3, work, blocks=20), 1, 1)[1] == "waits", "nothing is left"


class Counting:
    """Counts its plans: every second one lets a request in."""

    name, summary = "counting", ""

    def __init__(self) -> None:
        self.asked = 0

    def plan(self, view: View) -> Plan:
        self.asked += 1
        return Plan(admit=view.fitting()[:1] if self.asked % 2 else [])


def test_a_policy_that_remembers_is_not_disturbed() -> None:
    policy = Counting()
    trace = trace_of(Counting(), 3, requests([4, 4, 4]))
    before = policy.asked
    assert said(policy, trace, 2, 1)[1] == "waits"
    assert said(policy, trace, 2, 2)[1] == "let in"
    assert policy.asked == before


# ------------------------------------------------------------------ in Chinese


def english(text: str) -> set[str]:
    """The English words in it, beside those that Chinese uses, too."""
    return set(re.findall(r"[A-Za-z_]+", text)) - {"token", "KV", "END", "max_new_tokens"}


@pytest.mark.parametrize("name", UNDER_TEST)
def test_whatever_the_built_in_policies_say_is_sentencein_chinese(name: str) -> None:
    policy = UNDER_TEST[name]()
    for seed in range(3):
        trace = trace_of(policy, 3, drawn(random.Random(seed), 9), blocks=24)
        for iteration in range(0, len(trace.iterations), 3):
            made = decision(trace, iteration, policy)
            assert not english(in_language(_setting(made), "zh"))
            for request in range(9):
                answer = answered(made, trace, request)
                for sentence in (answer.verdict, answer.reason):
                    assert not english(in_language(sentence, "zh")), sentence
                    assert not sentence or in_language(sentence, "zh") != sentence
                texts = (in_language(answer.reason, "zh"), answer.reason)
                numbers = [sorted(re.findall(r"\d+", text)) for text in texts]
                assert set(numbers[0]) <= set(numbers[1])


def test_the_other_sentences_are_chinese_too() -> None:
    work = [Request(i, (1,) * n, 3, output_length=3) for i, n in enumerate([1, 2, 3])]
    for trace, request in (
        (trace_of(ShortestFirst(), 3, work, blocks=20), 1),
        (trace_of(ShortestFirst(), 3, work, blocks=20), 2),
        (trace_of(ShortestFirst(), 3, work[1:], blocks=9), 2),
    ):
        reason = said(ShortestFirst(), trace, request, 1)[2]
        assert reason.startswith("the policy gave no reason; asked again, ")
        assert not english(in_language(reason, "zh")), reason
        assert in_language(reason, "zh").startswith("策略没有说明理由；再问一次：")


def test_a_chinese_notebook_is_answered_in_chinese() -> None:
    trace = trace_of(Continuous(), 1, requests([4, 4]))
    assert str(why(trace, 2, 0)).endswith(
        "request 2 (number 2 in the queue): waits — the last free slot went to request 1."
    )
    speak("zh")
    try:
        explained = why(trace, 2, 0)
    finally:
        speak("en")
    assert str(explained).splitlines() == [
        "continuous，第 0 次迭代：0 个在运行，2 个在等待；1 个槽位空闲 1 个，4000 个 KV 块空闲 4000 个",
        "  请求 2（队列第 2 位）：等待——最后一个空槽位给了请求 1。",
    ]
    page = explained._repr_mimebundle_()["text/html"]
    assert "<th>请求</th><th>队列中的位置</th>" in page
    assert not english(re.sub(r"<[^>]*>", "", page)) - {"continuous"}


class Rude(Continuous):
    """A learner's own reasons, one of them in the very words of a built-in policy."""

    def plan(self, view: View) -> Plan:
        admit = view.fitting()[:1]
        words = "ratio met" if view.iteration % 2 else "because I say so; and: <b>that is that</b>"
        return Plan(admit=admit, put_off=view.closed(words, admit))


def test_what_a_learner_wrote_is_left_as_it_is() -> None:
    trace = trace_of(Rude(), 2, requests([4, 4, 4]))
    (first,) = lane_why(trace, Rude(), 2, 0).answers
    assert first.text("zh") == "请求 2（队列第 2 位）：等待——because I say so; and: <b>that is that</b>。"
    assert "&lt;b&gt;that is that&lt;/b&gt;" in lane_why(trace, Rude(), 2, 0).html("zh")
    (behind,) = lane_why(trace, Rude(), 3, 1).answers
    assert in_language(behind.reason, "zh") == "ratio met"
    put_off = lane_why(trace, Rude(), 3, 0).answers[0].reason
    assert in_language(put_off, "zh").startswith("排在请求 2 之后，而后者被推迟：because I say so")


# ------------------------------------------------------------------ races, recordings, files, nonsense


@pytest.fixture(scope="module")
def small() -> Race:
    return race("tiny", ["static", "tgi", "vllm_v1"], slots=4, requests=12, repeats=1, device="cpu", live=False)


def test_a_race_is_asked_for_all_its_lanes(small: Race) -> None:
    answer = small.why(request=5, iteration=3)
    assert [lane.policy for lane in answer.lanes] == ["static", "tgi", "vllm_v1"]
    assert all(lane.iteration == 3 and len(lane.answers) == 1 for lane in answer.lanes)
    assert str(answer).count("request 5") == 3
    assert len(small.why(5, 3, lane="tgi").lanes) == 1
    last = max(len(trace.iterations) for trace in small.traces) - 1
    assert [lane.policy for lane in small.why(0, last).lanes] == ["static"], "the other lanes have ended by then"
    bundle = small.why(iteration=3)._repr_mimebundle_()
    assert "<table>" in bundle["text/html"]
    assert bundle["text/plain"] == str(small.why(iteration=3))
    assert cbviz.why(small, 5, 3) == answer
    with pytest.raises(MeasureError, match="there is no lane 'orca'; choose one of static, tgi, vllm_v1"):
        small.why(5, 3, lane="orca")


def test_whatever_a_policy_writes_is_text() -> None:
    class Rude:
        name, summary = "<b>rude</b>", ""

        def plan(self, view: View) -> Plan:
            return Plan(admit=view.fitting()[:1], put_off={r.id: "<script>" for r in view.waiting})

    shown = Why((lane_why(trace_of(Rude(), 2, requests([3, 3])), Rude(), None, 0),))._repr_mimebundle_()["text/html"]
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<b>rude" not in shown


def test_a_long_queue_is_shown_from_its_head() -> None:
    (lane,) = why(trace_of(Static(), 2, requests([3] * 60)), None, 1).lanes
    assert [answer.place for answer in lane.answers] == list(range(1, 21))
    assert lane.answers[5].reason == "behind request 3"


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_of_real_runs_can_be_asked(name: str) -> None:
    for trace in recorded(name):
        last = len(trace.iterations) - 1
        waits = np.flatnonzero(trace.iterations.waiting)
        answer = why(trace, None, int(waits[len(waits) // 2]))
        assert all(entry.reason for entry in answer.lanes[0].answers if entry.verdict == "waits")
        assert why(trace, int(trace.requests.id[0]), last).lanes[0].answers


def test_a_file_knows_its_policy(tmp_path: Path) -> None:
    lengths = {i + 1: n for i, n in enumerate([6, 4, 2])}
    for policy in (TGI(waiting_served_ratio=0.3), Orca("power_of_two"), Orca("oracle", lengths), Static(run_to=9)):
        trace = load(trace_of(policy, 2, requests([6, 4, 2])).save(tmp_path / "run.cbviz"))
        assert policy_of(trace) == policy
        assert why(trace, 3, 1).lanes[0].answers[0].verdict == "waits"


def test_cancellations_happen_again() -> None:
    work = requests([9, 9, 9])
    engine = Engine(NullExecutor(50, 1.0), Continuous(), slots=1, pool=BlockPool(50, 1))
    recorder = Recorder(TraceMeta("continuous", "", 1, 1, 50), Workload("", tuple(work)))
    engine.submit(*work)
    while (event := engine.step()) is not None:
        recorder.add(event)
        if event.index == 3:
            engine.cancel(1)
            engine.cancel(2)
    trace = recorder.trace()
    assert said(Continuous(), trace, 3, 4)[1] == "let in"
    assert said(Continuous(), trace, 2, 5) == (None, "gone", "it was cancelled before iteration 4")


def test_a_schedule_that_was_another_policy_s_is_refused() -> None:
    trace = trace_of(TGI(waiting_served_ratio=0), 3, requests([6, 4, 2], arrivals=[0, 1, 2]))
    with pytest.raises(MeasureError, match="departs from its trace in iteration 3; pass the policy that made it"):
        lane_why(trace, TGI(), 2, 5)


def test_nonsense_gets_one_sentence() -> None:
    trace = trace_of(Static(), 2, requests([3, 3]))
    for iteration in (-1, 3, 1.0, True, None):
        with pytest.raises(MeasureError, match=r"has iterations 0 to 2, not"):
            why(trace, 1, iteration)  # type: ignore[arg-type]
    for request in (0, 99, "1", True):
        with pytest.raises(MeasureError, match=r"has no request .*; it has 2, from 1 to 2"):
            why(trace, request, 1)  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="asks about a race, a benchmark or a trace, not about str"):
        why("race")
    with pytest.raises(MeasureError, match="is not a built-in policy; pass the policy that made the run"):
        why(trace_of(Counting(), 2, requests([3])), 1, 0)
    unsafe = replace(trace, meta=replace(trace.meta, extra={"run_to": -4}))
    with pytest.raises(
        MeasureError, match="the trace has parameters that 'static' does not take: static: run_to must be"
    ):
        why(unsafe, 1, 0)

    class Locked(Counting):
        def __deepcopy__(self, memo: object) -> object:
            raise TypeError("no copies")

    with pytest.raises(MeasureError, match=r"cannot be copied \(TypeError\)"):
        lane_why(trace_of(Counting(), 2, requests([3])), Locked(), 1, 0)

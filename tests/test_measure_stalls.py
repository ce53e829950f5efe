"""Stalls and gaps: by hand, and on the built-in model with long prompts arriving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stalls import Stalls, stall_workload, stalls

from cbviz.errors import CbvizError, MeasureError, PolicyError, WorkloadError
from cbviz.measure.latency import latencies
from cbviz.measure.stalls import stall_seconds, token_gaps
from cbviz.models import LoadedModel, load
from cbviz.policies import TGI, Sarathi, VllmV0
from cbviz.run.schedule import schedule
from cbviz.run.timed_run import Setting
from cbviz.workload import Workload
from tests.pictures import requests


def test_stalls_and_gaps_by_hand() -> None:
    """vllm_v0: 1 decodes from 0; 2 and 3 come at 1 and 2, and each prefill stalls who is there. Two seconds each.

    1 gives tokens in iterations 0, 3, 4: gaps of 6 and 2 seconds; 2 in 1 and 3: a gap of 4.
    """
    work = Workload("", tuple(requests([3, 2, 1], arrivals=[0, 1, 2])), arrival_unit="iterations")
    trace = schedule(VllmV0(), work, slots=3, seconds=2.0)
    assert list(trace.requests.token_iterations) == [(0, 3, 4), (1, 3), (2,)]
    assert stall_seconds(trace).tolist() == [4.0, 2.0], "request 1 through iterations 1 and 2, request 2 through 2"
    assert token_gaps(trace, [1]).tolist() == [6.0, 2.0]
    assert token_gaps(trace, [3]).tolist() == []
    assert sorted(token_gaps(trace)) == sorted(latencies(trace).itl) == [2.0, 4.0, 6.0]
    assert token_gaps(trace, []).tolist() == []
    with pytest.raises(MeasureError, match="has no request 9"):
        token_gaps(trace, [9])


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


@pytest.fixture(scope="module")
def found(tiny: LoadedModel) -> Stalls:
    work = stall_workload(
        vocabulary=tiny.vocabulary, decoding=3, output_tokens=40, long=3, long_prompt=(80, 120), rate=100
    )
    return stalls(tiny, ["tgi", "vllm_v0", Sarathi(chunk_size=16)], workload=work, decoding=3)


def test_which_policies_stall_the_decodes(found: Stalls) -> None:
    by_name = {one.policy: one for one in found.found}
    assert by_name["tgi"].stalls > 0
    assert by_name["vllm_v0"].stalls > 0
    assert by_name["sarathi"].stalls == by_name["sarathi"].longest_stall == by_name["sarathi"].stalled == 0
    for one in found.found:
        assert one.itl.count == 3 * 39
        assert one.ttft.count == 3
        assert one.itl.median <= one.itl.percentiles[99] <= one.itl_max
        assert 0 <= one.stalled < 1
        assert one.longest_stall <= token_gaps(one.trace).max(), "a stall lies between two tokens of its request"
        assert one.trace.output_tokens == 3 * 40 + 3 * 16
        assert one.trace.meta.clock == "alone"


def test_how_it_is_shown(found: Stalls) -> None:
    lines = str(found).splitlines()
    assert lines[0].startswith("tiny on cpu: 3 decode 40 tokens; 3 prompts of 80 to 120 tokens arrive, Poisson, 100")
    assert [line.split()[0] for line in lines[3:]] == ["tgi", "vllm_v0", "sarathi"]
    assert [s.name for s in found.chart().series] == ["tgi", "vllm_v0", "sarathi"]
    facts = found.found[0].to_json()
    assert facts["itl_p99"] == found.found[0].itl.percentiles[99]
    assert all(np.isfinite(value) for value in facts.values() if isinstance(value, float))


@pytest.mark.parametrize(("shapes", "times"), [([3, 3], 2), ([1, 4, 4], 3), ([1, 2, 3, 4, 5, 6, 7], 5)])
def test_a_run_that_met_a_new_shape_is_not_reported(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, shapes: list[int], times: int
) -> None:
    """`shapes` are those that are ready after each time; a capture in the middle of a run would look like a stall."""
    served = []
    timed = Setting.timed

    def counted(self: Setting, executor: Any, record: bool) -> Any:
        served.append(record)
        return timed(self, executor, record)

    monkeypatch.setattr(Setting, "timed", counted)
    monkeypatch.setattr("stalls._shapes", lambda executor: [0, *shapes][len(served)])
    work = Workload("", tuple(requests([3, 2])))
    stalls(tiny, [TGI()], workload=work, decoding=1)
    assert len(served) == times


def test_the_same_arrivals_every_time() -> None:
    one, other = (stall_workload(vocabulary=99, decoding=2, long=3, long_prompt=(5, 9), seed=4) for _ in range(2))
    assert one == other
    assert [request.id for request in one] == [0, 1, 2, 3, 4]
    assert all(5 <= len(request.prompt) <= 9 for request in one.requests[2:])
    assert all(request.arrival > 0 for request in one.requests[2:])


def test_nonsense_gets_one_sentence(tiny: LoadedModel) -> None:
    with pytest.raises(PolicyError, match="a list of at least one"):
        stalls(tiny, [])
    with pytest.raises(PolicyError, match="a list of at least one"):
        stalls(tiny, "tgi")
    with pytest.raises(WorkloadError, match="decoding must be"):
        stalls(tiny, decoding=0)
    with pytest.raises(WorkloadError):
        stall_workload(vocabulary=99, rate=-1)
    with pytest.raises(WorkloadError):
        stall_workload(vocabulary=99, long_prompt=(9, 5))
    work = Workload("", tuple(requests([3, 2])))
    with pytest.raises(CbvizError, match=r"has 2 requests; besides the 2 that decode it needs others"):
        stalls(tiny, [TGI()], workload=work, decoding=2)

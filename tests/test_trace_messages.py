"""Reasons in trace files: English text for every reader, and the message beside it for those that translate."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from cbviz.errors import TraceError
from cbviz.messages import Message, as_json, in_language
from cbviz.policies import TGI, Plan, Policy, View
from cbviz.reason import Reason
from cbviz.run.schedule import schedule
from cbviz.trace import RECORDINGS, Trace, recorded
from cbviz.trace.files import digest_of, from_bytes, to_bytes
from cbviz.trace.sentences import table
from cbviz.view.pack import read, trace_blocks
from cbviz.workload import Workload
from tests.pictures import requests


def run(policy: Policy) -> Trace:
    work = Workload("by hand", tuple(requests([6, 4, 2, 3, 2], arrivals=[0, 0, 1, 2, 3])), arrival_unit="iterations")
    return schedule(policy, work, slots=6, block_size=1, kv_blocks=4000, context_limit=4000)


def content_of(trace: Trace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(to_bytes(trace)))
    return found


def written(content: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps({**content, "digest": digest_of(content)}).encode())


def reasons(trace: Trace, language: str) -> set[str]:
    return {in_language(reason, language) for reason in trace.marks.reason} - {"", "length"}


class Own:
    """Gives the words of a built-in reason as plain text, and once as a reason."""

    name = "own"
    summary = "a learner's"

    def __init__(self, both: bool) -> None:
        self.both = both

    def plan(self, view: View) -> Plan:
        reason = Reason("ratio_met") if self.both and view.iteration == 3 else "ratio met"
        stalled = {request.id: reason for request in view.running[:1]} if view.iteration in (1, 3) else {}
        return Plan(admit=view.fitting(), pause=stalled if len(view.running) > 1 else {})


def test_a_reason_is_read_as_a_reason_and_kept_in_english() -> None:
    trace = run(TGI())
    content = content_of(trace)
    assert content["version"] == 2
    assert {"ratio met", "nothing running"} <= set(content["marks"]["reason"])
    assert content["meta"]["extra"]["messages"]["ratio met"] == ["reason.ratio_met", {}]
    again = from_bytes(to_bytes(trace))
    assert again == trace
    assert to_bytes(again) == to_bytes(trace)
    assert again.meta.extra == trace.meta.extra
    assert reasons(again, "zh") >= {"达到比例", "没有请求在运行"}
    assert in_language(again.meta.policy_summary, "zh").startswith("等待数 ≥ 1.2 × 运行数")


def test_plain_text_stays_plain_text() -> None:
    trace = run(Own(both=False))
    assert "messages" not in content_of(trace)["meta"]["extra"]
    assert reasons(from_bytes(to_bytes(trace)), "zh") == {"ratio met"}
    mixed = run(Own(both=True))
    assert reasons(mixed, "zh") == {"ratio met", "达到比例"}
    assert reasons(from_bytes(to_bytes(mixed)), "zh") == {"ratio met"}, "never a learner's words"
    (_, _), (header, _) = read(trace_blocks(0, mixed))
    assert {json.dumps(r) for r in header["reasons"]} >= {'"ratio met"', '["reason.ratio_met", {}]'}


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_recordings_are_chinese_on_a_chinese_board(name: str) -> None:
    for trace in recorded(name):
        assert isinstance(trace.meta.policy_summary, Message)
        assert in_language(trace.meta.policy_summary, "zh") in (
            "每一批都运行到其中最长的请求结束",
            "槽位空出后，下一次迭代立即补入",
        )
        assert "个" in in_language(trace.meta.workload, "zh")


def test_an_older_file_is_read_by_whole_sentences() -> None:
    content = content_of(run(TGI()))
    del content["meta"]["extra"]["messages"]
    assert not table(from_bytes(written(content))), "its summary has numbers in it: everything stays English"
    content["meta"]["policy_summary"] = "prefill first, decodes wait; preempt the newest when blocks run out"
    again = from_bytes(written(content))
    assert reasons(again, "zh") >= {"达到比例", "没有请求在运行"}
    content["meta"]["policy_summary"] = "my own"
    assert not table(from_bytes(written(content)))


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ({"ratio met": ["reason.of_another_version", {}]}, "ratio met"),
        ({"ratio met": ["reason.blocks_needed_by", {}]}, "ratio met"),
        ({"ratio met": ["reason.ratio_met", {"a": None}]}, "ratio met"),
        ({"ratio met": 7}, "ratio met"),
        ({"ratio met": json.loads("[" * 300 + "]" * 300)}, "ratio met"),
    ],
)
def test_a_message_that_makes_no_sense_leaves_its_text(stored: dict[str, Any], kept: str) -> None:
    content = content_of(run(TGI()))
    content["meta"]["extra"]["messages"] = stored
    assert kept in reasons(from_bytes(written(content)), "zh")


def test_a_table_that_is_none_is_refused() -> None:
    content = content_of(run(TGI()))
    content["meta"]["extra"]["messages"] = ["a"]
    with pytest.raises(TraceError, match="its messages are not a table"):
        from_bytes(written(content))


def test_a_table_cannot_make_one_end_another() -> None:
    content = content_of(run(TGI()))
    content["meta"]["extra"]["messages"] = {"length": ["reason.ratio_met", {}]}
    again = from_bytes(written(content))
    assert [str(reason) for reason in again.marks.reason] == content["marks"]["reason"]


def test_as_json_and_replace_keep_a_message() -> None:
    trace = run(TGI())
    assert as_json(replace(trace.meta, seed=3).policy_summary)[0] == "policy.tgi.summary"


def nested(levels: int) -> Any:
    message: Any = 1
    for _ in range(levels):
        facts = {"waiting": 1, "running": message, "ratio": 1, "least": 1, "limit": 1, "decodes": 1}
        message = ["reason.too_few_wait", facts]
    return message


@pytest.mark.parametrize(
    "entry",
    [
        ["reason.one_at_a_time", {}],
        ["language.tag", {}],
        ["reason.no_such_line", {}],
        ["reason.batch_full", {"size": "q" * 5_000_000}],
        nested(40),
        3,
        [],
        ["reason.ratio_met", []],
    ],
    ids=["another line", "another table", "unknown", "a long fact", "nested", "a number", "empty", "no facts"],
)
def test_the_table_of_messages_translates_a_text_and_never_changes_it(entry: Any) -> None:
    content = content_of(run(TGI()))
    content["meta"]["extra"]["messages"] = {"ratio met": entry, "a text that stands nowhere": nested(40)}
    again = from_bytes(written(content))
    assert "ratio met" in again.marks.reason
    assert not any(isinstance(reason, Message) for reason in again.marks.reason)

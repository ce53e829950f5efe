"""Trace files: what is written is read back equal; whatever else is read gives one clear sentence."""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import TraceError
from cbviz.trace import Recorder, Trace, check, load, save
from cbviz.trace import files as files_module
from cbviz.trace.files import _canonical, digest_of, from_bytes, to_bytes
from cbviz.trace.perfetto import perfetto_events
from tests.fake_runs import meta, record, request, scheduled, scheduled_trace, wild_trace

SOUND = wild_trace(seed=3, requests=7)
SOUND_BYTES = to_bytes(SOUND)
SOUND_CONTENT = json.loads(gzip.decompress(SOUND_BYTES))
FIRST_PREFILL = int(np.argmax(SOUND.iterations.prefill_slots > 0))
TABLES = ("meta", "requests", "iterations", "spans", "marks")


def written(content: Any, *, renew: bool = True) -> bytes:
    """The bytes of a file with this content, with a digest that fits unless `renew` is off."""
    if renew and isinstance(content, dict):
        content = {**content, "digest": digest_of(content)}
    return gzip.compress(json.dumps(content).encode())


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    content: dict[str, Any] = copy.deepcopy(SOUND_CONTENT)
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return content


def complaint(data: bytes) -> str:
    with pytest.raises(TraceError) as caught:
        from_bytes(data)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


# ---------------------------------------------------------------- what is sound


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(0, 100))
def test_round_trip_of_any_run(seed: int, most: int) -> None:
    trace = wild_trace(seed, most=most)
    data = to_bytes(trace)
    again = from_bytes(data)
    assert again == trace
    assert to_bytes(again) == data
    assert again.requests.tokens == trace.requests.tokens
    np.testing.assert_array_equal(again.iterations.t_end, trace.iterations.t_end)


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    path = save(SOUND, tmp_path / "run.cbviz")
    assert load(path) == SOUND
    assert SOUND.save(str(path)) == path  # replaces what was there
    assert Trace.load(str(path)).meta == SOUND.meta
    assert [file.name for file in tmp_path.iterdir()] == ["run.cbviz"]


def test_the_same_run_gives_the_same_bytes() -> None:
    assert to_bytes(scheduled_trace([4, 2, 3], 2)) == to_bytes(scheduled_trace([4, 2, 3], 2))
    assert scheduled_trace([4, 2, 3], 2).digest != scheduled_trace([4, 2, 4], 2).digest
    assert len({scheduled_trace([4, 2, 3], 2), scheduled_trace([4, 2, 3], 2)}) == 1


def test_the_format_is_plain_gzip_and_json() -> None:
    assert SOUND_CONTENT["format"] == "cbviz-trace"
    assert SOUND_CONTENT["version"] == 2
    assert SOUND_CONTENT["iterations"]["waiting"] == SOUND.iterations.waiting.tolist()
    assert SOUND_BYTES[4:8] == b"\0\0\0\0"  # no time stamp in the gzip header


def test_odd_text_survives() -> None:
    asked = [request(0)]
    recorder = Recorder(meta(1, extra={"note": "槽位 \u0000 \ud800", "deep": [[{"x": [1.5, None, True]}]]}), asked)
    for event in scheduled(asked, 1):
        recorder.add(event)
    texts = ["</script>", "\ud83d", "\n", "é"]
    trace = from_bytes(to_bytes(recorder.trace(pieces=lambda tokens: texts)))
    assert trace.requests.pieces == (tuple(texts),)
    assert trace.meta.extra == recorder.meta.extra


def test_a_read_trace_cannot_be_rewritten() -> None:
    with pytest.raises(ValueError, match="read-only"):
        from_bytes(SOUND_BYTES).spans.end[0] = 5


# ---------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a trace written by cbviz"),
        (b"PK\x03\x04 something else", "not a trace written by cbviz"),
        (pickle.dumps({"format": "cbviz-trace"}), "not a trace written by cbviz"),
        (gzip.compress(b"not json"), "not JSON inside"),
        (gzip.compress('{"format": "é"}'.encode()), "not JSON inside"),
        (gzip.compress(b"[1, 2]"), "not a trace written by cbviz"),
        (gzip.compress(b'{"format": "cbviz-trace", "version": NaN}'), "holds NaN"),
        (gzip.compress(b'{"format": "cbviz-trace", "format": "cbviz-trace"}'), "a key occurs twice"),
        (gzip.compress(b'{"a":' * 100_000), "nested deeper"),
        (gzip.compress(b"[" * 4_000_001), "more lists"),
        (gzip.compress(b"9" * 100_000), "not JSON inside"),
        (written({**SOUND_CONTENT, "version": 7}), "this file is version 7; cbviz reads version 2"),
        (written({**SOUND_CONTENT, "version": True}), "this file is version True"),
        (written({**SOUND_CONTENT, "version": 2.0}), "this file is version 2.0"),
        (written({**SOUND_CONTENT, "format": "other"}), "not a trace written by cbviz"),
        (written({k: v for k, v in SOUND_CONTENT.items() if k != "spans"}), "lacks 'spans'"),
        (written({**SOUND_CONTENT, "more": 1}), "has an unknown part 'more'"),
        (SOUND_BYTES[:-20], "truncated"),
        (SOUND_BYTES[:40], "truncated"),
        (SOUND_BYTES + b"x", "something follows after its end"),
        (SOUND_BYTES + SOUND_BYTES, "something follows after its end"),
        (SOUND_BYTES[:100] + b"\xff\xff\xff" + SOUND_BYTES[103:], "damaged"),
        (written(changed("meta", "policy", to="magic"), renew=False), "changed after it was written"),
        (written({**SOUND_CONTENT, "digest": 5}, renew=False), "changed after it was written"),
    ],
    ids=range(24),
)
def test_a_damaged_or_foreign_file_says_what_is_wrong(data: bytes, says: str) -> None:
    assert says in complaint(data)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed("meta", to=[]), "meta is not a table"),
        (changed("meta", "slots", to=99), "do not add up to 99"),
        (changed("meta", "slots", to="3"), "meta.slots must be a whole number"),
        (changed("meta", "extra", to={"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}), "nested deeper than 16"),
        (changed("iterations", "t_end", 3, to=1e9), "clock of the iterations goes back"),
        (changed("iterations", "t_start", 0, to=-1), "clock of the iterations goes back"),
        (changed("iterations", "t_start", 0, to=10**400), "too large"),
        (changed("iterations", "waiting", 2, to=1.0), "is not a number of its kind"),
        (changed("iterations", "waiting", 2, to=True), "is not a number of its kind"),
        (changed("iterations", "waiting", 2, to=2**63), "too large"),
        (changed("iterations", "waiting", to=[0]), "waiting has 1 rows"),
        (changed("iterations", "waiting", to="000"), "is not a list"),
        (changed("iterations", "waiting", 4, to=77), "waiting does not follow from"),
        (changed("iterations", "generated", 4, to=77), "generated does not count"),
        (changed("iterations", "decode_slots", 4, to=-3), "decode_slots must lie between 0"),
        (changed("iterations", "prefill_tokens", FIRST_PREFILL, to=999), "prefill_tokens does not sum"),
        (changed("requests", "id", 0, to=5), "two requests share an id"),
        (changed("requests", "id", 0, to=4242), "names request 0, which is not in the request table"),
        (changed("requests", "arrival", 0, to=-1.0), "arrives before 0"),
        (changed("requests", "arrival", 0, to=1e6), "was seen before it arrived"),
        (changed("requests", "reason", 0, to=9), "requests.reason must lie between"),
        (changed("requests", "prompt", 0, to=5), "a prompt is not text"),
        (changed("requests", "tokens", 0, to=5), "must hold one tuple per request"),
        (changed("requests", "tokens", 0, to=["a"]), "is not int"),
        (changed("requests", "tokens", 0, to=[2**80]), "token"),
        (changed("requests", "pieces", 0, to=["a"]), "text pieces than output tokens"),
        (changed("requests", "preemptions", 0, to=50), "more or less often than marked"),
        (changed("spans", "first", 0, to=10**6), "spans.first must lie between"),
        (changed("spans", "state", 0, to=0), "spans.state must lie between"),
        (changed("spans", "slot", 0, to=2), "not sorted"),
        (changed("spans", "request", 0, to=777), "names request 777"),
        (changed("marks", "kind", 0, to=12), "marks.kind must lie between"),
        (changed("marks", "iteration", 0, to=20), "not in order"),
        (changed("marks", "reason", 0, to=None), "reason is not text"),
    ],
    ids=range(34),
)
def test_an_edited_file_with_a_renewed_digest_still_shows(content: dict[str, Any], says: str) -> None:
    assert says in complaint(written(content))


def test_a_gzip_bomb_is_not_unpacked() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([packer.compress(b"0" * 2**20) for _ in range(129)]) + packer.flush()
    assert len(bomb) < 2**20
    assert "unpacks to more than" in complaint(bomb)


def test_a_missing_or_unreadable_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"there is no file .*none.cbviz"):
        load(tmp_path / "none.cbviz")
    os.mkfifo(tmp_path / "pipe.cbviz")
    for no_file in (tmp_path, tmp_path / "pipe.cbviz"):
        with pytest.raises(TraceError, match="it is not a file"):
            load(no_file)
    with pytest.raises(TraceError, match="cannot be read"):
        load("nul\0byte")
    with pytest.raises(TraceError, match="named by a path"):
        load(5)  # type: ignore[arg-type]
    (tmp_path / "bad.cbviz").write_bytes(SOUND_BYTES[:50])
    with pytest.raises(TraceError, match=r"bad.cbviz: this trace file is truncated"):
        load(tmp_path / "bad.cbviz")


def test_writing_says_what_is_wrong_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(SOUND, tmp_path / "run.cbviz")
    with pytest.raises(TraceError, match=r"ends in \.cbviz"):
        save(SOUND, tmp_path / "run.pkl")
    with pytest.raises(TraceError, match="cannot be written"):
        save(SOUND, tmp_path / "no such folder" / "run.cbviz")
    with pytest.raises(TraceError, match="only a Trace can be written"):
        save("trace", path)  # type: ignore[arg-type]

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TraceError, match="No space left on device"):
        save(scheduled_trace([2], 1), path)
    assert load(path) == SOUND
    assert [file.name for file in tmp_path.iterdir()] == ["run.cbviz"]


def test_a_run_that_could_not_be_read_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "LARGEST_TEXT", 1000)
    with pytest.raises(TraceError, match="too long for one file"):
        to_bytes(SOUND)


# ---------------------------------------------------------------- fuzz


def loads_or_complains(data: bytes) -> Trace | None:
    """The trace, proven valid by using it; or None after a TraceError. Anything else is a failure."""
    try:
        trace = from_bytes(data)
    except TraceError:
        return None
    check(trace)
    assert from_bytes(to_bytes(trace)) == trace
    perfetto_events(trace)
    assert 0 <= trace.occupancy <= 1
    return trace


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_of_the_bytes_is_noticed_or_harmless(data: st.DataObject) -> None:
    raw = bytearray(SOUND_BYTES)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip":
                raw[place] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[place:]
            case "insert":
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=8))
            case "drop":
                del raw[place : place + data.draw(st.integers(1, 8))]
        if not raw:
            break
    trace = loads_or_complains(bytes(raw))
    assert trace is None or trace == SOUND


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_any_change_of_the_content_gives_a_valid_trace_or_a_complaint(data: st.DataObject) -> None:
    """The forger's case: values, rows and columns change, and the digest is renewed."""
    content = copy.deepcopy(SOUND_CONTENT)
    for _ in range(data.draw(st.integers(1, 3))):
        parent: Any = content
        key: Any = data.draw(st.sampled_from(TABLES))
        while isinstance(parent[key], dict | list) and parent[key] and data.draw(st.integers(0, 9)) > 0:
            parent = parent[key]
            keys = sorted(parent) if isinstance(parent, dict) else range(len(parent))
            key = data.draw(st.sampled_from(keys))
        match data.draw(st.sampled_from(["junk", "delete", "repeat", "swap"])):
            case "junk":
                parent[key] = data.draw(JUNK)
            case "delete":
                del parent[key]
            case "repeat" if isinstance(parent, list):
                parent.insert(key, parent[key])
            case "swap" if isinstance(parent, list):
                other = data.draw(st.sampled_from(range(len(parent))))
                parent[key], parent[other] = parent[other], parent[key]
        if not all(isinstance(content.get(name), dict) and content[name] for name in TABLES):
            break
    loads_or_complains(gzip.compress(json.dumps({**content, "digest": renewed(content)}).encode()))


def renewed(content: dict[str, Any]) -> str:
    try:
        return digest_of(content)
    except ValueError:  # NaN and infinity have no digest
        return "none"


@settings(max_examples=100, deadline=None)
@given(
    junk=st.recursive(JUNK, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
)
def test_any_json_at_all_is_a_complaint(junk: Any) -> None:
    assert loads_or_complains(gzip.compress(json.dumps(junk).encode())) is None


@settings(max_examples=100, deadline=None)
@given(junk=st.binary(max_size=300))
def test_any_bytes_at_all_are_a_complaint(junk: bytes) -> None:
    assert loads_or_complains(junk) is None
    assert loads_or_complains(gzip.compress(junk)) is None
    assert loads_or_complains(b"\x1f\x8b" + junk) is None


def test_one_value_has_one_spelling() -> None:
    assert _canonical({"b": [1.5, "é"], "a": None}) == b'{"a":null,"b":[1.5,"\\u00e9"]}'


def test_pieces_are_kept_as_recorded() -> None:
    asked = [request(0, output=2)]
    trace = record(scheduled(asked, 1), asked, 1)
    assert trace.requests.pieces == (("t0", "t1"),)


def test_the_whole_file_has_one_spelling() -> None:
    """What is written is the canonical JSON of all of it, its digest among it: no second way to write a trace."""
    assert gzip.decompress(SOUND_BYTES) == _canonical(SOUND_CONTENT)
    assert SOUND_CONTENT["digest"] == SOUND.digest

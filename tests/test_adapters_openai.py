"""The load generator, against a server on this machine: what it sends, what it times, and every way to fail."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cbviz.adapters.openai import Call, LoadResult, load
from cbviz.adapters.openai.http import Endpoint
from cbviz.cli import main
from cbviz.errors import AdapterError
from cbviz.messages import Message
from cbviz.view.colours import VERMILION
from cbviz.view.gantt import MOST_BARS
from cbviz.workload import Request, Sampling, Workload
from tests.loopback import Answer, Loopback


def work(n: int = 3, *, output: int = 4, gap: float = 0.0, text: str = "Say {}.", **more: Any) -> Workload:
    return Workload(
        "calls",
        tuple(Request(i, (5, 6, 7), output, arrival=i * gap, text=text.format(i), **more) for i in range(n)),
    )


async def good(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    for n in range(body["max_tokens"]):
        await answer.piece(f" {n}", "length" if n == body["max_tokens"] - 1 else None)
    await answer.end({"prompt_tokens": 11, "completion_tokens": body["max_tokens"]})


def test_answers_and_what_was_asked() -> None:
    with Loopback(good) as server:
        result = load(server.url, work())
    assert [call.text for call in result.calls] == [" 0 1 2 3"] * 3
    assert [call.output_tokens for call in result.calls] == [4] * 3
    assert [call.prompt_tokens for call in result.calls] == [11] * 3
    assert all(0 <= call.sent <= call.times[0] <= call.times[-1] <= call.end <= result.seconds for call in result.calls)
    assert all(len(call.gaps) == 3 and call.ttft > 0 and call.tpot >= 0 for call in result.calls)
    first = next(body for body in server.bodies if body["prompt"] == "Say 0.")
    assert first == {
        "model": "loop",
        "prompt": "Say 0.",
        "max_tokens": 4,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert str(result.sentences()[0]).startswith("3 of 3 requests completed in ")
    assert result.sentences()[0].in_language("zh").startswith("3 个请求中有 3 个完成")


def test_lengths_that_are_forced_and_prompts_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Loopback(good) as server:
        load(server.url, work(1, text="", output_length=2, sampling=Sampling(temperature=0.7)), model="mine")
    assert server.bodies[0]["prompt"] == [5, 6, 7]
    assert (server.bodies[0]["ignore_eos"], server.bodies[0]["max_tokens"]) == (True, 2)
    assert (server.bodies[0]["model"], server.bodies[0]["temperature"]) == ("mine", 0.7)
    assert "Authorization: Bearer secret" in server.heads[0]


def test_the_chat_endpoint() -> None:
    with Loopback(good) as server:
        result = load(server.url + "/v1/chat/completions", work(1))
    assert server.heads[-1].startswith("POST /v1/chat/completions ")
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Say 0."}]
    assert result.calls[0].text == " 0 1 2 3"
    with pytest.raises(AdapterError, match=r"^request 0 has no text, which the chat endpoint needs"):
        load("http://localhost", work(1, text=""), chat=True)


def test_a_closed_loop_never_opens_more() -> None:
    async def slow(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.piece("a")
        await asyncio.sleep(0.02)
        await answer.end()

    with Loopback(slow) as server:
        result = load(server.url, work(9), concurrency=2)
    assert server.most_open == 2
    assert len(result.completed) == 9
    assert result.to_json()["max_concurrency"] == 2
    assert any(said.key == "load.uncounted" for said in result.sentences())
    assert not any(said.key == "load.late" for said in result.sentences())  # they waited for their turn


def test_arrivals_are_kept() -> None:
    with Loopback(good) as server:
        result = load(server.url, work(3, gap=0.2))
    assert all(call.sent >= call.arrival for call in result.calls)
    assert result.to_json()["request_rate"] == pytest.approx(3 / 0.4)


async def refuses(body: dict[str, Any], answer: Answer) -> None:
    message = b'{"error": {"message": "too many requests\\nfor you", "code": 429}}'
    await answer.head("429 Too Many Requests", chunked=False, more=f"Content-Length: {len(message)}\r\n")
    await answer.raw(message)


async def stalls(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    await asyncio.sleep(600)


async def never_answers(body: dict[str, Any], answer: Answer) -> None:
    await asyncio.sleep(600)


async def stops_in_a_chunk(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    await answer.raw(b"50\r\ndata: {")


async def ends_early(body: dict[str, Any], answer: Answer) -> None:
    await answer.head(chunked=False)
    await answer.piece("one")
    await answer.piece("two")


async def no_stream(body: dict[str, Any], answer: Answer) -> None:
    await answer.head(chunked=False)
    await answer.raw(b"<html>Welcome to nginx</html>\n")


async def no_json(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.send(b"data: {nonsense\n\n")


async def no_choices(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.event({"choices": ["x"]})


async def no_http(body: dict[str, Any], answer: Answer) -> None:
    await answer.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def bad_chunk(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.raw(b"zz\r\nhello\r\n")


async def empty(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.end()


async def reports(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    await answer.event({"error": {"message": "out of memory"}})


async def reports_alone(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.event({"object": "error", "message": "out of memory", "code": 500})


async def reports_in_an_event(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    await answer.send(b'event: error\ndata: {"message": "out of memory"}\n\n')
    await answer.send(b"data: [DONE]\n\n")


async def endless_line(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    for _ in range(40):
        await answer.send(b"x" * 2**16)


@pytest.mark.parametrize(
    ("behave", "sentence"),
    [
        (refuses, "the endpoint answered 429: too many requests for you"),
        (stalls, "no token came for 0.3 s, after 1 piece of the answer"),
        (never_answers, "no answer came within 0.3 s"),
        (stops_in_a_chunk, "the answer broke off after 1 piece"),
        (ends_early, "the answer broke off after 2 pieces"),
        (no_stream, "the answer is no stream of completions: <html>Welcome to nginx</html>"),
        (no_json, "the answer is no stream of completions: {nonsense"),
        (no_choices, 'the answer is no stream of completions: {"choices": ["x"]}'),
        (no_http, "the answer is no stream of completions: illegal status line"),
        (bad_chunk, "the answer is no stream of completions: illegal chunk header"),
        (empty, "the answer ended without a token"),
        (reports, "the endpoint reported an error in its answer: out of memory"),
        (reports_alone, "the endpoint reported an error in its answer: out of memory"),
        (reports_in_an_event, "the endpoint reported an error in its answer: out of memory"),
        (endless_line, "the answer is no stream of completions: xxxxx"),
    ],
)
def test_every_way_to_fail_is_a_sentence_and_a_row(behave: Any, sentence: str) -> None:
    async def one_fails(body: dict[str, Any], answer: Answer) -> None:
        await (good if body["prompt"] == "Say 1." else behave)(body, answer)

    patience = 0.3 if behave in (stalls, never_answers) else 60.0
    with Loopback(one_fails) as server:
        result = load(server.url, work(2), patience=patience, concurrency=1)
    failed, fine = result.calls
    assert fine.error is None or patience < 1  # a slow machine may stall by itself
    assert failed.error is not None
    assert str(failed.error).startswith(sentence)
    assert failed.error.in_language("zh") != str(failed.error)
    assert result.rows()[0]["error"] == str(failed.error)
    assert result.rows("zh")[0]["error"] == failed.error.in_language("zh")
    facts = result.to_json()
    assert facts["errors"][0] == str(failed.error)
    assert facts["completed"] + facts["failed"] == 2
    assert any(said.key == "load.failed" for said in result.sentences())


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = load(url, work(2), model="any")
        assert [str(call.error)[:35] for call in result.calls] == ["the endpoint cannot be reached (Con"] * 2 or all(
            "cannot be reached" in str(call.error) for call in result.calls
        )
        assert str(result.sentences()[-1]).startswith("2 requests failed: the endpoint cannot be reached (")
        with pytest.raises(
            AdapterError, match=r"does not name its models \(the endpoint cannot be reached .*; name one"
        ):
            load(url, work(2))


@pytest.mark.parametrize("models", [b"[]", b'{"data": []}', b"nothing", b'{"data": [3]}'])
def test_an_endpoint_that_does_not_name_its_models(models: bytes) -> None:
    with Loopback(good, models) as server, pytest.raises(AdapterError, match=r"does not name its models; name one\.$"):
        load(server.url, work(1))


def test_a_server_without_chunks_or_length_ends_with_its_connection() -> None:
    async def plain(body: dict[str, Any], answer: Answer) -> None:
        await answer.head(chunked=False)
        await answer.send(b": a comment\n\nevent: message\n")
        await answer.piece("a", "stop")

    with Loopback(plain) as server:
        assert load(server.url, work(1)).calls[0].error is None


def test_inside_a_running_loop_as_in_a_notebook() -> None:
    async def cell(url: str) -> LoadResult:
        return load(url, work(1))

    # In a thread of its own: a browser test that ran before keeps a loop in this one.
    with Loopback(good) as server, ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, cell(server.url)).result().calls[0].error is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://a:8000", "http://a:8000/v1/completions"),
        ("http://a:8000/", "http://a:8000/v1/completions"),
        ("https://a/v1", "https://a:443/v1/completions"),
        ("https://a/openai/v1/completions", "https://a:443/openai/v1/completions"),
        ("http://[::1]:9/v1/chat/completions", "http://[::1]:9/v1/chat/completions"),
    ],
)
def test_addresses(url: str, path: str) -> None:
    assert str(Endpoint.of(url)) == path


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a", "http://", "http://a:99999999", "http://a b", "", None, 3]
)
def test_what_is_no_address(url: object) -> None:
    with pytest.raises(AdapterError, match=r"^the address must be one such as http://localhost:8000, not "):
        Endpoint.of(url)


def test_bad_input() -> None:
    counted = Workload("counted", (Request(0, (5,), 4, arrival=2),), arrival_unit="iterations")
    for given, settings, message in (
        ([], {}, "workload must be a Workload"),
        (counted, {}, "an endpoint has no iterations"),
        (work(), {"concurrency": 0}, "concurrency must be a whole number"),
        (work(), {"patience": 0}, "patience must be a number of seconds above 0"),
        (work(), {"patience": math.nan}, "patience must be a number of seconds above 0"),
    ):
        with pytest.raises(AdapterError, match=message):
            load("http://localhost:1", given, **settings)  # type: ignore[arg-type]


def by_hand() -> LoadResult:
    calls = (
        Call(0, 0.0, 0.1, 1.0, 7, [0.3, 0.5, 0.9], 3, "abc"),
        Call(1, 0.0, 0.2, 0.8, 5, [0.6], None, "x"),
        Call(2, 0.5, 0.5, 0.7, 5, [0.6], None, "", Message("load.cut", pieces=1)),
    )
    return LoadResult("http://a", "m", work(3), calls, seconds=2.0)


def test_the_numbers_by_hand() -> None:
    facts = by_hand().to_json()
    assert (facts["completed"], facts["failed"], facts["num_prompts"]) == (2, 1, 3)
    assert (facts["total_input_tokens"], facts["total_output_tokens"]) == (12, 4)
    assert (facts["request_throughput"], facts["output_throughput"]) == (1.0, 2.0)
    assert facts["ttfts"] == pytest.approx([0.2, 0.4, 0.1])
    assert facts["mean_ttft_ms"] == pytest.approx(300)
    assert facts["itls"][0] == pytest.approx([0.2, 0.4])
    # The one request of two tokens or more has gaps of 0.2 and 0.4 s.
    assert (facts["mean_tpot_ms"], facts["median_itl_ms"]) == (pytest.approx(300), pytest.approx(300))
    assert facts["p99_e2el_ms"] == pytest.approx(400 + 0.99 * 400)
    assert facts["output_lens"] == [3, 1, 0]
    assert facts["request_rate"] == "inf"
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_picture_has_a_row_a_request_and_says_so(tmp_path: Path, language: str) -> None:
    path = by_hand().to_svg(tmp_path / "calls.svg", language)
    text = path.read_text("utf-8")
    ElementTree.fromstring(text)
    assert Message("doctor.gantt.rows").in_language(language) in text
    assert ("not a slot" in text) == (language == "en")
    assert "http://a" in text
    assert VERMILION in text
    assert by_hand()._repr_html_().startswith("<img ")


def test_a_picture_of_very_many_requests_draws_some() -> None:
    calls = tuple(Call(n, 0.0, 0.0, 1.0, 1, [0.5], 1) for n in range(MOST_BARS + 50))
    result = LoadResult("u", "m", work(1), calls, 1.0)
    assert len(result.gantt().drawn()) == MOST_BARS
    assert f"{MOST_BARS} of {MOST_BARS + 50} requests" in result.svg()


# ------------------------------------------------------------------------------------------- the command line


def test_cbviz_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, picture = tmp_path / "run.json", tmp_path / "run.svg"
    with Loopback(good) as server:
        asked = ["load", server.url, "--requests", "4", "--request-rate", "200", "--burstiness", "0.5"]
        code = main([*asked, "--max-new-tokens", "3", "--save", str(saved), "--svg", str(picture)])
    out = capsys.readouterr().out
    assert code == 0
    assert out.startswith("4 of 4 requests completed in ")
    facts = json.loads(saved.read_text("utf-8"))
    assert (facts["completed"], facts["burstiness"], facts["total_output_tokens"]) == (4, 0.5, 12)
    assert facts["request_rate"] == 200
    assert picture.read_text("utf-8").startswith("<svg ")


def test_cbviz_load_prints_json_and_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    with Loopback(good) as server:
        assert main(["load", server.url, "--requests", "2", "--random-prompt-tokens", "9", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["completed"] == 2
        assert all(len(body["prompt"]) == 9 and body["ignore_eos"] for body in server.bodies)
        assert main(["load", server.url, "--requests", "1", "--language", "zh", "--max-concurrency", "1"]) == 0
    assert "首 token 延迟" in capsys.readouterr().out


def test_cbviz_load_fails_where_nothing_completes(capsys: pytest.CaptureFixture[str]) -> None:
    with Loopback(refuses) as server:
        assert main(["load", server.url, "--requests", "2"]) == 2
    assert "2 requests failed: the endpoint answered 429" in capsys.readouterr().out
    assert main(["load", "nowhere"]) == 2
    assert "the address must be one such as" in capsys.readouterr().err
    assert main(["load", "http://localhost", "--chat", "--random-prompt-tokens", "3"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    for bad in (["--request-rate", "0"], ["--patience", "nan"], ["--burstiness", "x"], ["--requests", "0"]):
        with pytest.raises(SystemExit):
            main(["load", "http://localhost", *bad])
        assert "must be a" in capsys.readouterr().err


@pytest.mark.parametrize(("n", "rate", "burstiness"), [(1, "5", None), (20, "40", None), (6, "20", "0.3")])
def test_n_requests_at_a_rate_take_n_over_the_rate(
    n: int, rate: str, burstiness: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `vllm bench serve` scales its gaps; the file says what was asked for, and doctor reads it."""
    saved = tmp_path / "run.json"
    command = ["load", "", "--requests", str(n), "--request-rate", rate, "--max-new-tokens", "2", "--save", str(saved)]
    with Loopback(good) as server:
        command[1] = server.url
        assert main(command + ([] if burstiness is None else ["--burstiness", burstiness])) == 0
    facts = json.loads(saved.read_text("utf-8"))
    assert (facts["request_rate"], facts["burstiness"]) == (float(rate), float(burstiness or 1))
    assert n / float(rate) <= facts["start_times"][-1] == max(facts["start_times"])
    capsys.readouterr()
    assert main(["doctor", str(saved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["settings"]["request_rate"] == float(rate)


def test_a_result_tells_doctor_what_its_file_would() -> None:
    found = by_hand()
    facts = found.to_json()
    assert found.results().settings == {name: facts[name] for name in found.results().settings}
    assert set(found.results().settings) >= {"model_id", "request_rate", "burstiness", "max_concurrency"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--request-rate", "1e-9"],
            "--request-rate must be at least 2e-09 for 2 requests, not 1e-09: the last request may arrive after at "
            "most 1,000,000,000 s.",
        ),
        (["--request-rate", "1e-320"], "--request-rate must be at least 2e-09 for 2 requests, not 1e-320: "),
        (
            ["--request-rate", "4", "--burstiness", "1e-320"],
            "--burstiness 1e-320 leaves no time between 2 requests; give a larger one, or leave out --request-rate, ",
        ),
    ],
)
def test_arrivals_that_make_no_sense_name_their_option(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", "http://localhost:1", "--requests", "2", *options]) == 2
    assert capsys.readouterr().err.startswith(f"cbviz: {sentence}")

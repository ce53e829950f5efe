"""What a caller may do to the load generator: interrupt it, and give it a wrong key, callback or address."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cbviz.adapters.openai import Call, load
from cbviz.adapters.openai.http import Endpoint
from cbviz.adapters.openai.key import Key
from cbviz.cli import main
from cbviz.errors import AdapterError, BrokenOff
from cbviz.workload.files import read_results
from tests.loopback import Answer, Loopback
from tests.test_adapters_openai import good, work

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


# ------------------------------------------------------------------------------------------------- interrupts


def first_two_end() -> tuple[Any, threading.Event]:
    """A behaviour that answers two requests and then none; and whether two more have come."""
    seen, waits = 0, threading.Event()

    async def behave(body: dict[str, Any], answer: Answer) -> None:
        nonlocal seen
        seen += 1
        if seen <= 2:
            return await good(body, answer)
        await answer.head()
        await answer.piece("half")
        if seen >= 4:
            waits.set()
        await asyncio.sleep(600)

    return behave, waits


def send_when(waits: threading.Event, number: signal.Signals) -> None:
    """Send a signal to this process's main thread once the event has happened."""

    def send() -> None:
        assert waits.wait(60)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    threading.Thread(target=send).start()


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_had_ended(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave, waits = first_two_end()
    argv = ["load", "URL", "--requests", "7", "--max-concurrency", "2", "--save", "run.json", "--svg", "run.svg"]
    with Loopback(behave) as server:
        ran = subprocess.Popen(
            [sys.executable, "-m", "cbviz", *(server.url if word == "URL" else word for word in argv)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        )
        try:
            while not waits.wait(0.05):
                assert ran.poll() is None, ran.communicate()
            ran.send_signal(number)
            out, err = ran.communicate(timeout=120)
        finally:
            ran.kill()
    assert ran.returncode == 128 + number, out + err
    assert err == ""
    assert out.startswith(
        "interrupted: 2 of 7 requests had ended and are kept; 2 in flight count as not ended, and 3 had not been sent\n"
        "2 of 4 requests completed in "
    )
    assert out.endswith("The numbers are in run.json\nThe picture is in run.svg\n")
    assert "failed" not in out
    facts = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert sorted(facts["errors"]) == ["", "", *["the run was interrupted before this answer had ended"] * 2]
    assert sum(one.good for one in read_results(tmp_path / "run.json")[0].served) == 2
    assert (facts["num_prompts"], facts["completed"], facts["failed"]) == (4, 2, 0)
    assert main(["doctor", str(tmp_path / "run.json")]) == 0
    said = "run.json: 4 requests, 0 failed and 2 not ended when the run did, measured by vLLM bench.\n"
    assert capsys.readouterr().out.startswith(said)
    picture = (tmp_path / "run.svg").read_text("utf-8")
    assert picture.startswith("<svg ")
    assert "not ended" in picture
    assert "failed" not in picture


@POSIX
def test_an_interrupt_in_python_returns_what_there_is() -> None:
    behave, waits = first_two_end()
    with Loopback(behave) as server:
        send_when(waits, signal.SIGINT)
        result = load(server.url, work(7), concurrency=2)
    assert result.stopped
    assert [call.ended for call in result.calls] == [True, True, False, False]
    assert [call.error is None for call in result.calls] == [True, True, False, False]
    assert result.sentences()[0].in_language("zh").startswith("运行被中断：7 个请求中有 2 个已结束")


def test_an_interrupt_in_the_callback_ends_the_run() -> None:
    behave, _ = first_two_end()

    def done(call: Call) -> None:
        raise KeyboardInterrupt

    with Loopback(behave) as server:
        result = load(server.url, work(4), concurrency=1, done=done)
    assert result.stopped
    assert sum(call.ended for call in result.calls) >= 1


@POSIX
def test_an_interrupt_before_anything_was_sent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async def silent(body: dict[str, Any], answer: Answer) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await asyncio.sleep(600)

    with Loopback(good, silent) as server:
        assert main(["load", server.url, "--save", str(tmp_path / "run.json")]) == 130
    assert capsys.readouterr().err == "cbviz: interrupted; nothing was kept.\n"
    assert not list(tmp_path.iterdir())


@POSIX
def test_an_interrupt_before_anything_has_ended_writes_the_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def endless(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.piece("a")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await asyncio.sleep(600)

    with Loopback(endless) as server:
        command = ["load", server.url, "--model", "m", "--requests", "3", "--max-concurrency", "1"]
        command += ["--save", str(tmp_path / "r.json")]
        assert main(command) == 130
    assert "interrupted: 0 of 3 requests had ended" in "".join(capsys.readouterr())
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["completed"] == 0


@POSIX
def test_json_of_a_run_that_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    behave, waits = first_two_end()
    with Loopback(behave) as server:
        send_when(waits, signal.SIGINT)
        assert main(["load", server.url, "--requests", "4", "--max-concurrency", "2", "--json"]) == 130
    found = capsys.readouterr()
    assert json.loads(found.out)["completed"] == 2
    assert found.err.startswith("cbviz: interrupted: 2 of 4 requests had ended and are kept; ")


# ------------------------------------------------------------------------------------------------------ the key


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("sk-SECRET\r", "a line end"),
        ("sk-SECRET\n", "a line end"),
        (" sk-SECRET", "a blank"),
        ("sk-SECRET ", "a blank"),
        ("sk-\x1bSECRET", "a control character"),
        ("sk-SECRETé", "a character beyond ASCII"),
        ("sk-SECRET\udcff", "a character beyond ASCII"),
    ],
)
def test_a_key_that_no_header_may_have(
    key: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with Loopback(good) as server:
        assert main(["load", server.url, "--model", "m", "--save", str(tmp_path / "run.json")]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == (
        f"cbviz: the variable OPENAI_API_KEY holds {what}, which no key may have; set it again without it.\n"
    )
    assert not server.heads
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["status", "event", "nonsense", "header", "escaped"])
def test_a_key_is_never_quoted(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-SEC/RET'x"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    async def echoes(body: dict[str, Any], answer: Answer) -> None:
        said = f"Incorrect key: {key}."
        if how == "header":
            return await answer.raw(b"HTTP/1.1 200 OK\r\n" + said.encode() + b"\x00: x\r\n\r\n")
        await answer.head("401 Unauthorized" if how == "status" else "200 OK", chunked=False)
        if how == "status":
            await answer.raw(json.dumps({"error": {"message": "x" * 190 + said}}).encode())
        elif how == "event":
            await answer.event({"error": {"message": "x" * 50 + said}})
        elif how == "nonsense":
            await answer.send(("x" * 60 + said).encode())
        else:
            await answer.send(b'data: {"choices": "sk-SEC\\/RET\'x"}\n\n')

    with Loopback(echoes) as server:
        result = load(server.url, work(1), model="m")
    assert f"Bearer {key}" in server.heads[0]
    assert result.calls[0].error is not None
    everything = json.dumps(result.to_json()) + str(result.sentences()) + result.svg()
    assert "SEC" not in everything
    assert "RET" not in everything


def test_a_key_does_not_show_itself() -> None:
    assert (repr(Key("sk-SECRET")), repr(Key(""))) == ("<Key set>", "<Key not set>")
    assert Key("any").scrub("any answer") == "any answer"
    for written in ("s/k-'1", r"s\/k-\'1", r"s\\/k-\\'1", r"s\u002fk-\u00271", r"s\x2Fk-\x271", "s%2Fk-%271"):
        assert Key("s/k-'1").scrub(f"a {written}.") == "a [OPENAI_API_KEY].", written


# ------------------------------------------------------------------------------------- arguments and addresses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"done": 5}, r"^done must be None or a function of a request that has ended, not 5\.$"),
        ({"model": 5}, r"^model must be a text that is not empty, not 5\.$"),
        ({"model": ""}, r"^model must be a text that is not empty, not ''\.$"),
        ({"chat": 1}, r"^chat must be True or False, not 1\.$"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        load("http://localhost:1", work(), **settings)


@pytest.mark.parametrize("broken", [ValueError("no\nmore"), SystemExit(3), asyncio.CancelledError()])
def test_a_callback_that_raises_costs_nothing(broken: BaseException) -> None:
    ended = []

    def done(call: Call) -> None:
        ended.append(call.id)
        raise broken

    with Loopback(good) as server, pytest.warns(RuntimeWarning, match="^`done` raised an exception for 3 req") as said:
        result = load(server.url, work(3), done=done)
    assert len(said) == 1
    assert [call.error for call in result.calls] == [None] * 3
    assert sorted(ended) == [0, 1, 2]
    assert f"the first was {type(broken).__name__}: " in str(result.sentences()[-1])


def test_a_callback_that_is_broken_off_ends_the_run() -> None:
    def done(call: Call) -> None:
        raise BrokenOff

    with Loopback(good) as server, pytest.raises(BrokenOff):
        load(server.url, work(2), done=done)


@pytest.mark.parametrize(
    "url",
    ["http://user:pw@a:8000", "http://user@a", "https://u:pw@[::1]/v1", "user:pw@a", "ftp://u:pw@a", "http://u:pw@a:x",
     "http://u:pw@"],
)  # fmt: skip
def test_an_address_with_a_user_name_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(AdapterError, match=r"^the address must hold no user name and no password: ") as refused:
        Endpoint.of(url)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://a:0", "http://a/v1#part"])
def test_what_would_be_dropped_from_an_address_is_refused(url: str) -> None:
    with pytest.raises(AdapterError, match=r"^the address must be one such as http://localhost:8000, not "):
        Endpoint.of(url)


def test_a_query_is_part_of_every_request() -> None:
    with Loopback(good) as server:
        result = load(server.url + "/v1/completions?api-version=1&x=a%20b@c", work(1))
    assert result.calls[0].error is None
    assert [head.split()[1] for head in server.heads] == [
        "/v1/models?api-version=1&x=a%20b@c",
        "/v1/completions?api-version=1&x=a%20b@c",
    ]
    assert result.url == server.url + "/v1/completions"


def test_an_address_of_ipv6_has_brackets() -> None:
    endpoint = Endpoint.of("http://[2001:db8::1]:8000")
    assert (str(endpoint), endpoint.host) == ("http://[2001:db8::1]:8000/v1/completions", "2001:db8::1")

"""Sends a workload to an endpoint, on time, and takes down when each piece of each answer came."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

from cbviz.adapters.openai.answer import StreamedAnswer
from cbviz.adapters.openai.http import ANSWER_BYTES, PER_TOKEN, CallError, Endpoint, Exchange, client
from cbviz.adapters.openai.key import Key
from cbviz.adapters.openai.result import Call, LoadResult
from cbviz.checks import PASSING, flag, is_number, kind_of, one_line, shown, text, whole
from cbviz.errors import AdapterError, CbvizError
from cbviz.limits import MOST_SLOTS
from cbviz.messages import Message
from cbviz.paths import printable
from cbviz.workload import Request, Workload

LONGEST_PATIENCE = 86_400.0
GRACE, LEAST_GRACE = 2.0, 0.1
"""Seconds for what may follow the end of an answer: the endpoint's count of its tokens, and then the end of the stream,
without which the connection could not be used again."""
MOST_WAITING_FOR_COUNTS = 256
"""Answers that have ended and wait for their counts at once, each with its connection: a process may have 1,024 files
open on most systems. The oldest gives up where there would be more."""
BROKEN_OFF = ("load.stalled", "load.cut", "load.too_long")
"""How a connection may end after the end of its answer, which is complete all the same."""
LOOKS_UP = 0.5
"""Seconds after which the thread that waits looks up: on Windows nothing else lets Ctrl-C through."""


def load(
    url: str,
    workload: Workload,
    *,
    model: str | None = None,
    concurrency: int | None = None,
    patience: float = 60.0,
    chat: bool = False,
    done: Callable[[Call], None] | None = None,
) -> LoadResult:
    """Send a workload to an OpenAI-compatible endpoint, streaming.

    A request is sent as its text, or as token ids where it has none, which vLLM and others accept. One that forces its
    output length asks for `ignore_eos`, an extension that they share.

    The variable OPENAI_API_KEY is sent as a bearer token if it is set. An interrupt ends the run, and the requests that
    had been sent are returned; those whose answers had not ended say so.

    Parameters
    ----------
    url
        Such as "http://localhost:8000"; a query, such as "?api-version=1", is part of every request.
    workload
        What to send, at its arrivals in seconds.
    model
        The model's name; None asks the endpoint.
    concurrency
        The most requests whose answers have not ended, at once. With all arrivals at 0 this is a closed loop: one ends,
        one is sent. An endpoint's count of tokens may follow an answer's end; it is waited for beside the loop.
    patience
        Seconds to wait for the head of an answer, from the moment of sending, and then for each next token. What
        brings no token, such as a comment, does not count. An answer of more than twice as many pieces as the tokens
        that were asked for, and 64, is cut.
    chat
        Whether to use the chat endpoint.
    done
        Called with each request as it ends, in a thread of the run. If it raises, the run goes on, and a warning at the
        end says so.

    Returns
    -------
    LoadResult
        One row a request that was sent, failed ones included, each with a sentence.

    Raises
    ------
    AdapterError
        An address, a workload, a key or a number that makes no sense, or an endpoint that does not name its models.
    KeyboardInterrupt
        The interrupt came before the first request was sent.
    """
    endpoint = Endpoint.of(url, flag("chat", chat, error=AdapterError))
    if not isinstance(workload, Workload):
        raise AdapterError(f"workload must be a Workload, not {shown(workload)}.")
    if workload.arrival_unit != "seconds" and any(request.arrival for request in workload):
        raise AdapterError("an endpoint has no iterations that arrivals could count; count seconds.")
    if concurrency is not None:
        whole("concurrency", concurrency, 1, MOST_SLOTS, error=AdapterError)
    if not is_number(patience) or not 0 < patience <= LONGEST_PATIENCE:
        raise AdapterError(f"patience must be a number of seconds above 0 and up to 86,400, not {shown(patience)}.")
    textless = [request.id for request in workload if not request.text]
    if endpoint.chat and textless:
        raise AdapterError(f"request {textless[0]} has no text, which the chat endpoint needs; use completions.")
    if model is not None:
        model = text("model", model, error=AdapterError)
    if done is not None and not callable(done):
        raise AdapterError(f"done must be None or a function of a request that has ended, not {shown(done)}.")
    key = Key.of_environment()
    result = _Generator(endpoint, workload, model, concurrency, float(patience), done, key).result()
    for note in result.notes:
        warnings.warn(str(note), RuntimeWarning, stacklevel=2)
    return result


class _Generator:
    """One run: its clock, the tasks that wait for their arrivals, and the thread that they share.

    The thread that called waits, so that an interrupt reaches it there and nowhere within a request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        workload: Workload,
        model: str | None,
        concurrency: int | None,
        patience: float,
        done: Callable[[Call], None] | None,
        key: Key,
    ) -> None:
        self.endpoint, self.workload, self.patience = endpoint, workload, patience
        self.concurrency, self.done, self.key = concurrency, done, key
        self.model = model or ""
        self.began = self.seconds = 0.0
        self.calls: list[Call | None] = [None] * len(workload)
        self.over = threading.Event()
        self.stopped = False
        self.failure: BaseException | None = None
        self.refusals: list[str] = []
        self.counting: dict[Exchange, None] = {}
        """Exchanges whose answers have ended and whose counts have not come, the oldest first."""
        self.running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def now(self) -> float:
        return time.perf_counter() - self.began

    def result(self) -> LoadResult:
        """Run it. Raises KeyboardInterrupt if one came before anything was sent."""
        thread = threading.Thread(target=self._work, name="cbviz load", daemon=True)
        try:
            thread.start()
            self._wait()
        except BaseException as broken:
            self._stop()
            if thread.ident is not None:
                self._wait()
            if not isinstance(broken, KeyboardInterrupt):
                raise
        if self.failure is not None:
            raise self.failure
        calls = tuple(call for call in self.calls if call is not None)
        if not calls:
            raise KeyboardInterrupt
        said = self.refusals
        notes = (Message("load.done_raised", n=len(said), count=str(len(said)), first=said[0]),) if said else ()
        return LoadResult(
            str(self.endpoint), self.model, self.workload, calls, self.seconds, self.concurrency,
            stopped=self.stopped, notes=notes,
        )  # fmt: skip

    def _wait(self) -> None:
        while not self.over.wait(LOOKS_UP):
            pass

    def _stop(self) -> None:
        """End all requests; any thread may call it."""
        self.stopped = True
        if self.running is not None:
            loop, task = self.running
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(task.cancel)

    def _work(self) -> None:
        """What the thread does."""
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = self.failure or error
        finally:
            self.over.set()

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running = (asyncio.get_running_loop(), task)
        try:
            if not self.stopped:
                await self._send_all()
        except asyncio.CancelledError as error:
            self.failure = None if self.stopped else error
        except BaseException as error:
            self.failure = error
        finally:
            self.over.set()  # a name that is still being looked up keeps the loop from ending

    async def _send_all(self) -> None:
        async with client(self.endpoint, self.patience) as self.http:
            if not self.model:
                self.model = await self._first_model()
            self.began = time.perf_counter()
            gate = asyncio.Semaphore(len(self.workload) if self.concurrency is None else self.concurrency)
            try:
                await asyncio.gather(*(self._call(n, request, gate) for n, request in enumerate(self.workload)))
            finally:
                self.seconds = max((call.end for call in self.calls if call is not None), default=0.0)

    async def _first_model(self) -> str:
        try:
            found = json.loads(await Exchange(self.http, self.key, self.patience).whole(self.endpoint.models))
            return text("the model", found["data"][0]["id"])
        except CallError as failed:
            raise AdapterError(f"{self.endpoint} does not name its models ({failed}); name one.") from None
        except (CbvizError, ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise AdapterError(f"{self.endpoint} does not name its models; name one.") from None

    async def _call(self, n: int, request: Request, gate: asyncio.Semaphore) -> None:
        if (wait := request.arrival - self.now()) > 0:
            await asyncio.sleep(wait)
        place = _Place(gate)
        await place.take()
        call = self.calls[n] = Call(request.id, request.arrival, self.now(), prompt_tokens=len(request.prompt))
        answer = StreamedAnswer(call, request.output_length or request.max_new_tokens, self.now, self.key)
        try:
            await self._stream(request, answer, place)
        except CallError as failed:
            call.error = failed.why
        except asyncio.CancelledError:
            call.error = answer.finish() if answer.ended else Message("load.interrupted")
            raise
        except Exception as error:  # whatever an endpoint makes a library do costs one row
            found = self.key.scrub(f"{kind_of(error)}: {one_line(error)}")
            call.error = Message("load.nonsense", found=printable(found))
        finally:
            call.end = self.now() if answer.end is None else answer.end
            place.free()
        self._report(call)

    def _report(self, call: Call) -> None:
        """Tell the caller that a request has ended."""
        if self.done is None:
            return
        try:
            self.done(call)
        except KeyboardInterrupt:
            self._stop()
        except PASSING:
            raise
        except BaseException as error:  # the caller's code
            self.refusals.append(f"{kind_of(error)}: {one_line(error)}")

    def _body(self, request: Request, most: int) -> dict[str, Any]:
        forced = request.output_length is not None
        prompt: dict[str, Any] = {"prompt": request.text or list(request.prompt)}
        if self.endpoint.chat:
            prompt = {"messages": [{"role": "user", "content": request.text}]}
        return {
            "model": self.model,
            **prompt,
            "max_tokens": most,
            "temperature": request.sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if forced else {}),
        }

    async def _stream(self, request: Request, answer: StreamedAnswer, place: _Place) -> None:
        """Fill in a call from the events of its answer, and free its place when that ends. Raises CallError."""
        exchange = Exchange(self.http, self.key, self.patience, ANSWER_BYTES + PER_TOKEN * answer.asked)
        body = self._body(request, answer.asked)
        try:
            async with aclosing(exchange.events(self.endpoint.completions, body)) as events:
                async for event in events:
                    over, settled, went_on = answer.ended, answer.settled, answer.take(event)
                    exchange.pieces = len(answer.call.times)
                    if answer.ended and not over:
                        place.free()
                        self._count_beside(exchange)
                    if answer.closed:
                        break
                    if answer.settled and not settled:
                        exchange.renew(LEAST_GRACE)
                    elif went_on and not over:
                        exchange.renew(GRACE if answer.ended else math.inf)
        except CallError as failed:
            if not answer.ended or failed.why.key not in BROKEN_OFF:
                raise
        finally:
            self.counting.pop(exchange, None)
        if why := answer.finish():
            raise CallError(why)

    def _count_beside(self, exchange: Exchange) -> None:
        """The answer has ended, and its count may follow: the one that has waited longest gives up if they are many."""
        if len(self.counting) >= MOST_WAITING_FOR_COUNTS:
            oldest = next(iter(self.counting))
            del self.counting[oldest]
            oldest.give_up()
        self.counting[exchange] = None


class _Place:
    """A request's place among those that are open at once; it is freed once."""

    def __init__(self, gate: asyncio.Semaphore) -> None:
        self.gate, self.taken = gate, False

    async def take(self) -> None:
        await self.gate.acquire()
        self.taken = True

    def free(self) -> None:
        if self.taken:
            self.taken = False
            self.gate.release()

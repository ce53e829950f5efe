"""What a load run showed: one row a request, the numbers of `vllm bench serve`, and a picture."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cbviz.messages import FIRST, Message
from cbviz.view.gantt import Gantt
from cbviz.workload import LoadResults, Served, Workload


@dataclass(slots=True)
class Call:
    """One request to an endpoint; seconds on the clock of the run.

    Attributes
    ----------
    id
        Of the request.
    arrival, sent, end
        When it was due, when it was sent, and when its answer ended or failed; the wait for the endpoint's count of
        tokens, which may follow an answer, is no part of it.
    prompt_tokens
        As the endpoint counts them, or as the workload does.
    times
        When each piece of the answer came.
    counted
        Output tokens by the endpoint's own count; None if it gives none.
    text
        The answer.
    error
        A sentence on how it failed; None if it completed.
    """

    id: int
    arrival: float
    sent: float
    end: float = 0.0
    prompt_tokens: int = 0
    times: list[float] = field(default_factory=list)
    counted: int | None = None
    text: str = ""
    error: Message | None = None

    @property
    def ended(self) -> bool:
        """Whether it completed or failed, and was not still open when the run was interrupted."""
        return self.error is None or self.error.key != "load.interrupted"

    @property
    def output_tokens(self) -> int:
        """By the endpoint's count, or one a piece."""
        return len(self.times) if self.counted is None else self.counted

    @property
    def ttft(self) -> float:
        """Seconds from sending it to the first piece of its answer; NaN if none came."""
        return self.times[0] - self.sent if self.times else math.nan

    @property
    def e2el(self) -> float:
        """Seconds from sending it to the last piece; NaN if none came."""
        return self.times[-1] - self.sent if self.times else math.nan

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first; NaN below two tokens, or two times."""
        several = self.output_tokens > 1 and len(self.times) > 1
        return (self.e2el - self.ttft) / (self.output_tokens - 1) if several else math.nan

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """All requests of one run against an endpoint.

    Attributes
    ----------
    url, model
        What was asked.
    workload
        What was sent.
    calls
        One a request that was sent, in the workload's order.
    seconds
        Duration of the run, to the end of its last answer.
    concurrency
        The most requests whose answers had not ended, at once; None if there was no such limit.
    stopped
        Whether an interrupt ended the run; requests that it had not sent have no call.
    notes
        Sentences on what went wrong beside the requests.
    """

    url: str
    model: str
    workload: Workload
    calls: tuple[Call, ...]
    seconds: float
    concurrency: int | None = None
    request_rate: float | None = None
    """Requests a second, as asked for; None means those of the workload's arrivals."""
    burstiness: float | None = None
    """Of the arrivals, where it is known."""
    stopped: bool = False
    notes: tuple[Message, ...] = ()

    @property
    def completed(self) -> tuple[Call, ...]:
        """Requests without an error."""
        return tuple(call for call in self.calls if call.error is None)

    def sentences(self) -> list[Message]:
        """The result in sentences: what completed, how fast, and why the others failed.

        Returns
        -------
        list[Message]
            At least one.
        """
        done = self.completed
        tokens = sum(call.output_tokens for call in done)
        said = [self.partly()] if self.stopped else []
        said.append(
            Message(
                "load.result",
                done=len(done),
                all=len(self.calls),
                seconds=round(self.seconds, 2),
                rate=round(tokens / self.seconds, 1) if self.seconds else 0.0,
            )
        )
        for key, values in (
            ("load.ttft", [call.ttft for call in done]),
            ("load.tpot", [call.tpot for call in done if not math.isnan(call.tpot)]),
        ):
            if values:
                p50, p99 = (float(1000 * value) for value in np.percentile(values, (50, 99)))
                said.append(Message(key, p50=round(p50, 1), p99=round(p99, 1)))
        if any(call.counted is None for call in done):
            said.append(Message("load.uncounted"))
        late = max((call.sent - call.arrival for call in self.calls), default=0.0)
        if self.concurrency is None and late > 0.1:
            said.append(Message("load.late", seconds=round(late, 2)))
        failed = Counter(call.error for call in self.calls if call.error is not None and call.ended)
        said += [Message("load.failed", n=n, count=str(n), why=why) for why, n in failed.most_common()]
        return [*said, *self.notes]

    def partly(self) -> Message:
        """How far a run came that was interrupted.

        Returns
        -------
        Message
            How many requests had ended, how many were in flight, and how many had not been sent.
        """
        ended = sum(call.ended for call in self.calls)
        unsent = max(0, len(self.workload) - len(self.calls))
        return Message("load.partly", done=ended, all=len(self.workload), open=len(self.calls) - ended, unsent=unsent)

    def rows(self, language: str = FIRST) -> list[dict[str, Any]]:
        """One row a request.

        Parameters
        ----------
        language
            Of the sentences.

        Returns
        -------
        list[dict[str, Any]]
            Plain values; None for what never happened.
        """

        def plain(value: float) -> float | None:
            return None if math.isnan(value) else value

        return [
            {
                "id": call.id,
                "arrival": call.arrival,
                "sent": call.sent,
                "end": call.end,
                "ttft": plain(call.ttft),
                "tpot": plain(call.tpot),
                "e2el": plain(call.e2el),
                "prompt_tokens": call.prompt_tokens,
                "output_tokens": call.output_tokens,
                "error": "" if call.error is None else call.error.in_language(language),
            }
            for call in self.calls
        ]

    def to_json(self) -> dict[str, Any]:
        """The result in the format of `vllm bench serve --save-result --save-detailed` (vLLM 0.26 and 0.33).

        Lists have one entry a request. As there, latencies run from sending a request, and failed requests count in the
        lists only.

        Returns
        -------
        dict[str, Any]
            JSON values.
        """
        done, seconds = self.completed, self.seconds
        inputs, outputs = sum(call.prompt_tokens for call in done), sum(call.output_tokens for call in done)
        facts: dict[str, Any] = {
            "date": datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
            "endpoint_type": "openai",
            "label": None,
            "tokenizer_id": None,
            **self._settings(),
            "duration": seconds,
            "completed": len(done),
            "failed": sum(call.ended for call in self.calls) - len(done),
            "total_input_tokens": inputs,
            "total_output_tokens": outputs,
            "request_throughput": len(done) / seconds if seconds else 0.0,
            "request_goodput": None,
            "output_throughput": outputs / seconds if seconds else 0.0,
            "total_token_throughput": (inputs + outputs) / seconds if seconds else 0.0,
            "input_lens": [call.prompt_tokens for call in self.calls],
            "output_lens": [call.output_tokens if call.error is None else 0 for call in self.calls],
            "ttfts": [call.ttft if call.times else 0.0 for call in self.calls],
            "itls": [call.gaps for call in self.calls],
            "start_times": [call.sent for call in self.calls],
            "generated_texts": [call.text for call in self.calls],
            "errors": ["" if call.error is None else str(call.error) for call in self.calls],
        }
        for name, values in (
            ("ttft", [call.ttft for call in done]),
            ("tpot", [call.tpot for call in done]),
            ("itl", [gap for call in done for gap in call.gaps]),
            ("e2el", [call.e2el for call in done]),
        ):
            known = 1000 * np.array([value for value in values if not math.isnan(value)] or [0.0])
            facts |= {
                f"mean_{name}_ms": float(known.mean()),
                f"median_{name}_ms": float(np.median(known)),
                f"std_{name}_ms": float(known.std()),
                f"p99_{name}_ms": float(np.percentile(known, 99)),
            }
        return facts

    def results(self) -> LoadResults:
        """The run as `cbviz doctor` reads the files of other load generators.

        Returns
        -------
        LoadResults
            One row a request.
        """
        rows = tuple(
            Served(
                str(call.id),
                call.arrival,
                call.sent,
                call.times[0] if call.times else None,
                call.times[-1] if call.times else None,
                call.end if call.ended else max(call.sent, self.seconds),
                call.prompt_tokens,
                call.output_tokens,
                tuple(call.gaps),
                error="" if call.error is None else str(call.error),
                given_up=not call.ended,
            )
            for call in self.calls
        )
        at_once = len({call.arrival for call in self.calls}) <= 1
        closed = self.concurrency is not None and at_once
        return LoadResults(
            "vllm-bench",
            self.url,
            rows,
            duration=self.seconds,
            settings=self._settings(),
            closed=closed,
            concurrency=self.concurrency,
        )

    def _settings(self) -> dict[str, Any]:
        """What was asked for, as `vllm bench serve` names it."""
        return {
            "backend": "openai",
            "model_id": self.model,
            "num_prompts": len(self.calls),
            "request_rate": _offered(self.workload) if self.request_rate is None else self.request_rate,
            "burstiness": self.burstiness,
            "max_concurrency": self.concurrency,
        }

    def gantt(self, language: str = FIRST) -> Gantt:
        """The requests over time: one row a request, which is no slot.

        Parameters
        ----------
        language
            Of its labels.

        Returns
        -------
        Gantt
            A notebook displays it.
        """
        return Gantt(self.results(), language)

    def svg(self, language: str = FIRST) -> str:
        """The same picture as an SVG document.

        Parameters
        ----------
        language
            Of its labels.

        Returns
        -------
        str
            A picture.
        """
        return self.gantt(language).svg()

    def to_svg(self, path: str | os.PathLike[str], language: str = FIRST) -> Path:
        """Write the picture.

        Parameters
        ----------
        path, language
            Where to, and the language of its labels.

        Returns
        -------
        Path
            The file.
        """
        return self.gantt(language).to_svg(path)

    def _repr_html_(self) -> str:
        from cbviz.view.svg import image

        return image(self.svg(), "\n".join(map(str, self.sentences())))


def _offered(workload: Workload) -> float | str:
    """Requests a second, from the arrivals: "inf" where all came at once, as vLLM writes it."""
    last = workload.requests[-1].arrival
    return len(workload) / last if last else "inf"

"""What is to be said about one run of a load generator: sentences, a table, pictures, a page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cbviz.checks import three_digits
from cbviz.measure.definitions import LATENCIES, TOOLS, Defined, Moments, Values
from cbviz.measure.goodput import Targets
from cbviz.measure.rounding import percent
from cbviz.measure.saturation import Saturation
from cbviz.messages import Message, in_language
from cbviz.paths import new_file, write_whole
from cbviz.run.what_if import WhatIf
from cbviz.run.what_if_words import known, milliseconds, what_if_json, what_if_sentences
from cbviz.view.chart import Chart
from cbviz.view.gantt import Gantt
from cbviz.view.load_charts import in_flight, results_cdf, ttft_over_time
from cbviz.view.svg import image
from cbviz.workload import LoadResults

ALIKE = 0.005
"""Relative difference below which two definitions give the same."""
TITLES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E"}

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#15181c;"
    "background:#fff}img{max-width:100%}table{border-collapse:collapse;font-size:13px}"
    "h2{overflow-wrap:anywhere}.wide{overflow-x:auto}td:last-child{min-width:14em}"
    "td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ccc}td.n{text-align:right;white-space:nowrap}"
    "@media (prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}td,th{border-color:#444}}"
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A run of a load generator, examined. A notebook displays the picture, the sentences and the table.

    Attributes
    ----------
    results
        The run.
    table
        Every latency by every tool's definition.
    saturation
        Whether the server kept up.
    goodput
        Tool → requests a second that met the targets; empty without targets.
    targets
        The targets, or None.
    options
        The what-if, or None.
    runs, run
        How many runs the file holds, and which of them this is.
    language
        Of sentences and pictures.
    """

    results: LoadResults
    table: tuple[Defined, ...]
    saturation: Saturation
    goodput: dict[str, float]
    targets: Targets | None = None
    options: WhatIf | None = None
    runs: int = 1
    run: int = 1
    language: str = "en"

    def __repr__(self) -> str:
        return "\n".join([*self.sentences(), "", self.text()])

    @property
    def gantt(self) -> Gantt:
        """The requests over time. Raises MeasureError where the file does not tell when they were sent."""
        return Gantt(self.results, self.language)

    @property
    def in_flight(self) -> Chart:
        """Requests in flight over time. Raises MeasureError where the file does not tell when they were sent."""
        return in_flight(self.results)

    @property
    def ttft_over_time(self) -> Chart:
        """TTFT over the time of sending. Raises MeasureError where the file does not tell it."""
        return ttft_over_time(self.results)

    def cdf(self, metric: str = "e2el", tool: str | None = None) -> Chart:
        """Distribution of a latency.

        Parameters
        ----------
        metric
            One of "ttft", "tpot", "itl" and "e2el".
        tool
            Whose definition; None takes that of the tool that measured.

        Returns
        -------
        Chart
            See `cbviz.view.load_charts.results_cdf`.
        """
        return results_cdf(self.results, metric=metric, tool=self.results.tool if tool is None else tool)

    def by(self, metric: str, tool: str) -> Defined:
        """One row of the table.

        Parameters
        ----------
        metric, tool
            Names of `cbviz.measure.definitions.LATENCIES` and `TOOLS`.

        Returns
        -------
        Defined
            Raises StopIteration for names that are none.
        """
        return next(row for row in self.table if (row.metric, row.tool) == (metric, tool))

    def sentences(self) -> tuple[str, ...]:
        """What the run shows, most important first.

        Returns
        -------
        tuple of str
            In the language of this diagnosis.
        """
        served = self.results.served
        failed, still = sum(one.failed for one in served), sum(one.given_up for one in served)
        facts = {"name": self.results.name, "tool": TOOLS.get(self.results.tool, self.results.tool)}
        key = "doctor.run_cut" if still else "doctor.run"
        said: list[str] = [Message(key, n=len(served), failed=failed, open=still, **facts)]
        if self.runs > 1:
            said.append(Message("doctor.several", n=self.runs, run=self.run))
        said += self.results.notes
        said += _verdict(self.saturation, len(served), failed + still)
        said += self.differences()
        said += self.reported()
        if self.goodput:
            rates = {tool: three_digits(rate) if math.isfinite(rate) else "–" for tool, rate in self.goodput.items()}
            values = ", ".join(f"{TOOLS[tool]} {rate}" for tool, rate in rates.items())
            said.append(Message("doctor.goodput", values=values))
        if self.options is not None:
            said += what_if_sentences(self.options)
            if failed:
                said.append(Message("doctor.what_if.without_failed", n=failed))
        return tuple(in_language(sentence, self.language) for sentence in said)

    def differences(self) -> tuple[Message, ...]:
        """Why the tools' numbers for this run differ, where they do.

        Returns
        -------
        tuple of Message
            One for each cause; one that says so if there is none.
        """
        m = Moments.of(self.results)
        said, several = [], m.outputs > 1
        known, lead = several & m.chunked, []
        if known.any() and not m.chunked[several].all():
            lead.append(Message("doctor.differs.some_gaps", some=int(known.sum()), n=int(several.sum())))
        ours, theirs = self.by("tpot", "vllm-bench").mean, self.by("tpot", "guidellm").mean
        if ours > 0 and _differ(ours, theirs):
            said.append(
                Message(
                    "doctor.differs.tpot",
                    ratio=f"{theirs / ours:.2f}",
                    theirs=milliseconds(theirs),
                    ours=milliseconds(ours),
                )
            )
        gap = self.by("itl", "vllm-bench").mean
        gaps = float((m.outputs - 1)[known].sum())
        bundled = 1 - len(m.chunk_gaps) / gaps if m.chunk_gaps is not None and gaps else 0.0
        if bundled > ALIKE:
            said.append(Message("doctor.differs.chunks", share=percent(bundled, 1), gap=milliseconds(gap)))
        tpot = Values(m.per_token()[known]).mean()
        if _differ(tpot, gap):
            said.append(Message("doctor.differs.itl", gap=milliseconds(gap), tpot=milliseconds(tpot)))
        held = float(np.mean(m.sent - m.arrival))
        if _differ(self.by("ttft", "cbviz").mean, self.by("ttft", "vllm-bench").mean):
            said.append(Message("doctor.differs.held", held=milliseconds(held)))
        if _differ(self.by("e2el", "vllm-bench").mean, self.by("e2el", "guidellm").mean):
            said.append(Message("doctor.differs.end", extra=milliseconds(float(np.mean(m.end - m.last)))))
        if single := int((m.outputs == 1).sum()):
            said.append(Message("doctor.differs.one_token", n=single))
        return (*lead, *(said or [Message("doctor.differs.none")]))

    def reported(self) -> tuple[Message, ...]:
        """Whether the file's own results follow from its requests, for the latencies of vLLM's bench.

        Returns
        -------
        tuple of Message
            What differs by more than half a percent, or that nothing does; empty if the file reports nothing.
        """
        compared, wrong, duration = 0, [], self.results.duration
        if duration is not None and self.results.contradicted:
            facts = {"said": f"{duration:.3g}", "found": f"{self.results.shortest:.3g}"}
            wrong.append(Message("doctor.reported.duration", **facts))
        for metric in LATENCIES:
            row = self.by(metric, "vllm-bench")
            for statistic, found in (("mean", row.mean), ("median", row.median), ("p99", row.p99)):
                said = self.results.reported.get(f"{statistic}_{metric}_ms")
                if said is None or math.isnan(found):
                    continue
                compared += 1
                if _differ(said, found * 1e3):
                    wrong.append(
                        Message(
                            "doctor.reported.differs",
                            name=f"{statistic}_{metric}_ms",
                            said=f"{said:.2f}",
                            found=f"{found * 1e3:.2f}",
                        )
                    )
        return tuple(wrong) or ((Message("doctor.reported.agrees", n=compared),) if compared else ())

    def text(self) -> str:
        """The table as plain text.

        Returns
        -------
        str
            A heading and one line for each metric and tool.
        """
        rows = self._cells()
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = []
        for row in rows:
            left = [cell.ljust(w) for cell, w in zip(row[:3], widths[:3], strict=True)]
            right = [cell.rjust(w) for cell, w in zip(row[3:6], widths[3:], strict=True)]
            lines.append("  ".join([*left, *right]).rstrip())
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, times in seconds.

        Returns
        -------
        dict
            None for what is not known.
        """
        s = self.saturation
        return {
            "name": self.results.name,
            "tool": self.results.tool,
            "run": self.run,
            "requests": len(self.results.served),
            "failed": sum(one.failed for one in self.results.served),
            "given_up": sum(one.given_up for one in self.results.served),
            "settings": self.results.settings,
            "verdict": s.verdict,
            "verdict_why": s.why,
            "in_rate": known(s.in_rate),
            "out_rate": known(s.out_rate),
            "peak_in_flight": s.peak,
            "slopes": {
                name: None if slope is None else {"per_second": slope.per_second, "margin": known(slope.margin)}
                for name, slope in (("in_flight", s.concurrency), ("ttft", s.ttft))
            },
            "definitions": [
                {
                    "metric": row.metric,
                    "tool": row.tool,
                    "own_name": row.own_name,
                    "count": row.count,
                    "mean": known(row.mean),
                    "median": known(row.median),
                    "p99": known(row.p99),
                }
                for row in self.table
            ],
            "goodput": {tool: known(rate) for tool, rate in self.goodput.items()},
            "what_if": None if self.options is None else what_if_json(self.options),
            "sentences": list(self.sentences()),
        }

    def html(self) -> str:
        """Picture, sentences and table as HTML. Names of the file are text, never markup.

        Returns
        -------
        str
            Without scripts; pictures are inside it.
        """
        pictures = [self.gantt.svg(), self.in_flight.svg(), self.ttft_over_time.svg()] if self.results.timed else []
        if not any(one.first is not None for one in self.results.served):
            pictures = pictures[:2]
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences())
        head, *rows = self._cells()
        heading = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(
            "<tr>"
            + "".join(f'<td class="{"n" if 3 <= n < 6 else "t"}">{escape(cell)}</td>' for n, cell in enumerate(row))
            + "</tr>"
            for row in rows
        )
        shown = "".join(f'<div class="wide">{image(picture, self.results.name)}</div>' for picture in pictures)
        table = f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"
        return f'{shown}<ul>{sentences}</ul><div class="wide">{table}</div>'

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a page that needs no network.

        Parameters
        ----------
        path
            The file to write. Raises FileError if that fails.

        Returns
        -------
        Path
            The file written.
        """
        return write_whole(new_file(path), page([self]))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}

    def _cells(self) -> list[list[str]]:
        columns = ("metric", "tool", "own_name", "mean", "p50", "p99", "rule")
        rows = [[self._say(f"doctor.column.{name}") if name not in ("p50", "p99") else name for name in columns]]
        for row in self.table:
            numbers = [milliseconds(value) for value in (row.mean, row.median, row.p99)]
            rule = row.rule.in_language(self.language)
            rows.append([TITLES[row.metric], TOOLS[row.tool], row.own_name, *numbers, rule])
        return rows

    def _say(self, key: str) -> str:
        return Message(key).in_language(self.language)


def page(found: Sequence[Diagnosis]) -> str:
    """Several runs on one page, which loads nothing and runs no script."""
    language = found[0].language
    parts = "".join(f"<h2>{escape(one.results.name)}</h2>{one.html()}" for one in found)
    return (
        f'<!DOCTYPE html><html lang="{escape(Message("language.html").in_language(language))}"><head>'
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(found[0].results.name)}</title>'
        f"<style>{_STYLE}</style></head><body>{parts}</body></html>"
    )


def _verdict(s: Saturation, requests: int, not_served: int) -> list[Message]:
    """Whether the server kept up, and what became of the requests that were not served."""
    served, share = requests - not_served, s.failed / requests
    facts = {"failed": s.failed, "n": requests, "served": served, "share": percent(share, 0 if share >= 0.1 else 1)}
    said = [Message("doctor.given_up", n=not_served - s.failed)] if not_served > s.failed else []
    if s.verdict == "unknown":
        reasons = {"no times": "no_times", "few": "few", "at once": "at_once", "closed loop": "closed_loop"}
        return [*said, Message(f"doctor.unknown.{reasons[s.why]}", n=served)]
    facts |= {"in_rate": three_digits(s.in_rate), "out_rate": three_digits(s.out_rate)}
    if s.concurrency is not None and s.ttft is not None:
        facts |= {
            "growth": three_digits(s.concurrency.per_second),
            "growth_margin": f"{s.concurrency.margin:.2g}",
            "wait": three_digits(s.ttft.per_second),
            "wait_margin": f"{s.ttft.margin:.2g}",
        }
    keys = {"over-saturated": "doctor.over_saturated", "fails": "doctor.fails", "keeps up": "doctor.keeps_up"}
    said.append(Message(keys[s.verdict], **facts))
    if s.failed and s.verdict != "fails":
        said.append(Message("doctor.failed_too", **facts))
    if s.unknown_ends:
        said.append(Message("doctor.unknown_ends", n=s.unknown_ends))
    return said


def _differ(a: float, b: float) -> bool:
    return not (math.isnan(a) or math.isnan(b)) and abs(a - b) > ALIKE * max(abs(a), abs(b))

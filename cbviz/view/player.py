"""Runs without a kernel: a stand-alone page, and the output that a saved notebook keeps.

The page is one file: the board's module and style and the run as base64 of gzip. It loads nothing from the network; its
content security policy forbids that. Text written by a model or a user is inside the base64 and reaches the page only
as text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html as markup
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cbviz.checks import noun
from cbviz.errors import CbvizError
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.rounding import percent
from cbviz.messages import Message, as_json, check_language, in_language, lines, say
from cbviz.trace.check import check_size
from cbviz.trace.trace import Trace
from cbviz.view.controls import Knob
from cbviz.view.grid import drawable
from cbviz.view.js_source import joined
from cbviz.view.lane_info import LaneInfo, policy_name
from cbviz.view.language import RACE, dotted
from cbviz.view.pack import meta_block, trace_blocks
from cbviz.view.picture import svg
from cbviz.view.run_table import paragraphs
from cbviz.view.summary import Outcome
from cbviz.view.svg import data_uri

_HERE = Path(__file__).parent
_ELEMENT = re.compile(r'<div id="(cbviz-[0-9a-f]{16})" data-cbviz="player">')
MOST_LANES = 4

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)


@cache
def style() -> str:
    """The board's style sheet."""
    return (_HERE / "board.css").read_text(encoding="utf-8")


def check(traces: Sequence[Trace], language: str) -> None:
    """Raise `CbvizError` unless these are one to four traces and a language of the board."""
    if not 1 <= len(traces) <= MOST_LANES:
        raise CbvizError(f"a board shows 1 to {MOST_LANES} runs, not {len(traces)}.")
    for trace in traces:
        if not isinstance(trace, Trace):
            raise CbvizError(f"a board shows traces, not {type(trace).__name__}.")
        check_size(trace.meta.slots, len(trace.iterations))
    check_language(language)


def describe(
    traces: Sequence[Trace], finish: Outcome | None, title: str, subtitle: str | None, knobs: Sequence[Knob] = ()
) -> dict[str, Any]:
    """Titles, lanes and finish as the page expects them."""
    meta = traces[0].meta
    if subtitle is None:
        n = len(traces[0].requests)
        slots = Message("board.subtitle_slots", n=meta.slots, count=str(meta.slots))
        requests = Message("board.subtitle_requests", n=n, count=str(n))
        subtitle = dotted(meta.model, meta.device, slots, requests, meta.workload)
    names = [policy_name(trace) for trace in traces]
    return {
        "title": as_json(title),
        "subtitle": as_json(subtitle),
        "lanes": [
            {
                "name": name,
                "summary": as_json(trace.meta.policy_summary),
                "slots": trace.meta.slots,
                "total_blocks": trace.meta.total_blocks,
            }
            for name, trace in zip(distinct_names(names), traces, strict=True)
        ],
        "finish": (finish or Outcome.of(*traces)).as_json(),
        **({"knobs": [knob.as_json() for knob in knobs]} if knobs else {}),
    }


def pack(
    traces: Sequence[Trace],
    finish: Outcome | None,
    title: str,
    subtitle: str | None = None,
    knobs: Sequence[Knob] = (),
) -> bytes:
    """A whole board as blocks. `knobs` are the controls that the run had, with their last values."""
    lanes = b"".join(trace_blocks(lane, trace) for lane, trace in enumerate(traces))
    return meta_block(describe(traces, finish, title, subtitle, knobs)) + lanes


def zipped(data: bytes) -> str:
    """base64 of gzip; the same text for the same bytes."""
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


def html(
    traces: Sequence[Trace],
    summary: Outcome | None = None,
    *,
    title: str = RACE,
    subtitle: str | None = None,
    language: str = "en",
    autoplay: bool = True,
    below: str = "",
) -> str:
    """A complete page with the player: one file that opens without a kernel or a network.

    Parameters
    ----------
    traces
        One to four runs, stacked.
    summary
        The measured result; by default it is computed from the traces.
    title, subtitle
        Shown as text. By default the subtitle names model, device, slots and requests.
    language
        One of `cbviz.messages.languages()`; the page has a switch.
    autoplay
        Whether to play when the page opens; a reader's preference for reduced motion overrides it.
    below
        HTML under the board, such as `AnswerTable.html()`; it must escape what it shows.

    Returns
    -------
    str
        The HTML document.

    Raises
    ------
    CbvizError
        Nothing to show, or an unknown language.
    """
    check(traces, language)
    picture = data_uri(svg(traces, language=language)) if drawable(traces) else ""
    run = pack(traces, summary, title, subtitle)
    return page(run, title, language=language, autoplay=autoplay, picture=picture, below=below)


def page(
    run: bytes, title: str, *, language: str = "en", autoplay: bool = True, picture: str = "", below: str = ""
) -> str:
    """The page around a packed run. `picture` is the source of an image for browsers without scripts."""
    options = json.dumps({"language": language, "autoplay": bool(autoplay), "alone": True})
    name = markup.escape(in_language(title, language))
    # The module's text must not close the script element that contains it.
    module = joined().replace("</script", "<\\/script")
    image = f'{_how(language)}<img alt="{name}" style="max-width:100%" src="{picture}">' if picture else ""
    more = f'<section class="cbviz-below">{below}</section>\n' if below else ""
    return f"""<!doctype html>
<html lang="{lines(language)["language.html"]}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>
:root {{ color-scheme: light dark; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ :root {{ background: #111418; }} }}
body {{ margin: 0 auto; padding: 20px 24px; max-width: 2600px; }}
@media (max-width: 560px) {{ body {{ padding: 10px 8px; }} }}
#board > p {{ font: 14px/1.45 system-ui, sans-serif; margin: 0 0 4px; }}
.cbviz-below {{ font: 14px/1.45 system-ui, sans-serif; margin-top: 18px; overflow-x: auto; overflow-wrap: anywhere; }}
.cbviz-below :is(th, td) {{ text-align: start; vertical-align: top; padding: 3px 14px 3px 0; }}
{style()}
</style>
</head>
<body>
<main id="board">{image}</main>
{more}<script type="text/plain" id="run">{zipped(run)}</script>
<script type="module">
{module}
mount(document.getElementById("board"), document.getElementById("run").textContent, {options}).catch((error) => {{
  document.getElementById("board").append(String(error));
}});
</script>
</body>
</html>
"""


def _how(language: str) -> str:
    """How to read the picture: the sentence that stands above the lanes of a board, too."""
    return f"<p>{markup.escape(say(language, 'board.how_to_read'))}</p>"


def fragment(
    traces: Sequence[Trace],
    summary: Outcome | None,
    *,
    title: str,
    language: str = "en",
    knobs: Sequence[Knob] = (),
) -> str:
    """HTML for a notebook's output: a picture, which a script replaces by the player if scripts may run."""
    check(traces, language)
    summary = summary or Outcome.of(*traces)
    said = paragraphs(summary.verdict, language)
    data = zipped(pack(traces, summary, title, knobs=knobs))
    name = "cbviz-" + hashlib.sha256((data + language).encode()).hexdigest()[:16]
    code = zipped(joined().encode("utf-8"))
    look = json.dumps(style()).replace("</", "<\\/")
    alt = markup.escape(text(traces))
    picture = data_uri(svg(traces, language=language)) if drawable(traces) else ""
    image = f'{_how(language) if picture else ""}<img alt="{alt}" style="max-width:100%" src="{picture}">'
    return f"""<div id="{name}" data-cbviz="player">{image}{said}</div>
<script>
(async () => {{
  const unpack = async (packed) => {{
    const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }};
  const places = document.querySelectorAll('#{name}:not([data-up])');
  if (!places.length) return;
  const address = URL.createObjectURL(new Blob([await unpack("{code}")], {{ type: "text/javascript" }}));
  const {{ mount }} = await import(address);
  URL.revokeObjectURL(address);
  for (const place of places) {{
    place.dataset.up = "1";
    const inner = document.createElement("div");
    await mount(inner, "{data}", {{ language: "{language}", kept: "{name}" }});
    const look = document.createElement("style");
    look.textContent = {look};
    place.replaceChildren(look, inner);
  }}
}})().catch((error) => console.warn("cbviz shows the picture:", error));
</script>"""


def never_started(title: str, subtitle: str, lanes: Sequence[LaneInfo], language: str) -> str:
    """HTML of a run that was never started, for a page without a kernel, which has no widgets."""
    head = f"<strong>{markup.escape(in_language(title, language))}</strong>"
    more = markup.escape(in_language(subtitle, language))
    names = markup.escape(" · ".join(lane.name for lane in lanes))
    return f"<p>{head} {more}<br>{names}<br><em>{markup.escape(say(language, 'board.still_start'))}</em></p>"


def element_of(bundle: Mapping[str, str]) -> str:
    """The id of the element in a bundle that `mimebundle` made; "" if it has none."""
    found = _ELEMENT.search(bundle.get("text/html", ""))
    return found[1] if found else ""


def text(traces: Sequence[Trace]) -> str:
    """Iterations, occupancy and order of completion of each lane: no timings, so the same text on every machine."""
    lines = []
    for name, trace in zip(distinct_names([policy_name(trace) for trace in traces]), traces, strict=True):
        table, iterations, slots = trace.requests, len(trace.iterations), trace.meta.slots
        done = [i for i in range(len(table)) if table.reason[i] >= 0]
        order = [int(table.id[i]) for i in sorted(done, key=lambda i: (int(table.finished[i]), int(table.slot[i])))]
        shown = " ".join(map(str, order[:32])) + (" …" if len(order) > 32 else "")
        requests = f"{len(done)}/{len(table)} {noun(len(table), 'request')}"
        lines.append(
            f"{name}: {iterations} {noun(iterations, 'iteration')} on {slots} {noun(slots, 'slot')}, "
            f"occupancy {percent(trace.occupancy, 1)}, {requests}, in the order {shown}"
        )
    return "\n".join(lines)


def mimebundle(
    traces: Sequence[Trace],
    summary: Outcome | None = None,
    *,
    title: str = RACE,
    language: str = "en",
    knobs: Sequence[Knob] = (),
) -> dict[str, str]:
    """The mime bundle that a notebook keeps of a run: a picture that upgrades itself to the player, and plain text.

    The same traces give the same bundle, byte for byte. `knobs` are the controls that the run had.
    """
    shown = fragment(traces, summary, title=title, language=language, knobs=knobs)
    note = f"\n{summary.note}" if summary is not None and summary.note else ""
    return {"text/html": shown, "text/plain": text(traces) + note}

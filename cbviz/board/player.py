"""Runs without a kernel: a stand-alone page, and what a saved notebook keeps.

The page is one file: the board's module and style, the run as base64 of gzip, nothing from the network (its own content
security policy forbids it). Everything that a model or a user wrote travels inside the base64 and reaches the page as
text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html as markup
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cbviz.board.js_source import joined
from cbviz.board.language import LANGUAGES
from cbviz.board.pack import meta_block, trace_blocks
from cbviz.board.picture import drawable, svg
from cbviz.board.summary import Finish
from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.measure.svg import data_uri
from cbviz.trace.check import check_size
from cbviz.trace.trace import Trace

_HERE = Path(__file__).parent
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
    """Raises `CbvizError` unless these are one to four traces and a language that the board speaks."""
    if not 1 <= len(traces) <= MOST_LANES:
        raise CbvizError(f"a board shows one to {MOST_LANES} runs, not {len(traces)}.")
    for trace in traces:
        if not isinstance(trace, Trace):
            raise CbvizError(f"a board shows traces, not {type(trace).__name__}.")
        check_size(trace.meta.slots, len(trace.iterations))
    if not isinstance(language, str) or language not in LANGUAGES:
        raise CbvizError(f"language must be 'en' or 'zh', not {shown(language)}.")


def describe(traces: Sequence[Trace], finish: Finish | None, title: str, subtitle: str | None) -> dict[str, Any]:
    """Titles, lanes and finish as the page wants them."""
    meta = traces[0].meta
    if subtitle is None:
        parts = [meta.model, meta.device, f"{meta.slots} slots", f"{len(traces[0].requests)} requests", meta.workload]
        subtitle = " · ".join(part for part in parts if part)
    names = [trace.meta.policy for trace in traces]
    return {
        "title": title,
        "subtitle": subtitle,
        "lanes": [
            {
                "name": name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}",
                "summary": trace.meta.policy_summary,
                "slots": trace.meta.slots,
                "total_blocks": trace.meta.total_blocks,
            }
            for i, (name, trace) in enumerate(zip(names, traces, strict=True))
        ],
        "finish": (finish or Finish.of(*traces)).as_json(),
    }


def pack(traces: Sequence[Trace], finish: Finish | None, title: str, subtitle: str | None = None) -> bytes:
    """A whole board as blocks."""
    lanes = b"".join(trace_blocks(lane, trace) for lane, trace in enumerate(traces))
    return meta_block(describe(traces, finish, title, subtitle)) + lanes


def zipped(data: bytes) -> str:
    """base64 of gzip, the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


def html(
    traces: Sequence[Trace],
    summary: Finish | None = None,
    *,
    title: str = "Race",
    subtitle: str | None = None,
    language: str = "en",
    autoplay: bool = True,
) -> str:
    """A whole page with the player: one file that opens without a kernel or a network.

    Parameters
    ----------
    traces
        One to four runs, drawn one above the other.
    summary
        The measured result; by default what the traces themselves say.
    title, subtitle
        Shown as text. By default the subtitle names model, device, slots and requests.
    language
        "en" or "zh"; the page has a switch.
    autoplay
        Starts to play when it is opened, unless the reader asked for reduced motion.

    Raises
    ------
    CbvizError
        Nothing to show, or an unknown language.
    """
    check(traces, language)
    picture = data_uri(svg(traces, language=language)) if drawable(traces) else ""
    return page(pack(traces, summary, title, subtitle), title, language=language, autoplay=autoplay, picture=picture)


def page(run: bytes, title: str, *, language: str = "en", autoplay: bool = True, picture: str = "") -> str:
    """The page around a packed run. `picture` is the source of an image for browsers without scripts."""
    options = json.dumps({"language": language, "autoplay": bool(autoplay)})
    # The module's own text must not end the script element that carries it.
    module = joined().replace("</script", "<\\/script")
    image = f'<img alt="{markup.escape(title)}" style="max-width:100%" src="{picture}">' if picture else ""
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{markup.escape(title)}</title>
<style>
:root {{ color-scheme: light dark; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ :root {{ background: #111418; }} }}
body {{ margin: 0 auto; padding: 20px 24px; max-width: 2600px; }}
@media (max-width: 560px) {{ body {{ padding: 10px 8px; }} }}
{style()}
</style>
</head>
<body>
<main id="board">{image}</main>
<script type="text/plain" id="run">{zipped(run)}</script>
<script type="module">
{module}
mount(document.getElementById("board"), document.getElementById("run").textContent, {options}).catch((error) => {{
  document.getElementById("board").append(String(error));
}});
</script>
</body>
</html>
"""


def fragment(traces: Sequence[Trace], summary: Finish | None, *, title: str, language: str = "en") -> str:
    """HTML for a notebook's output: a picture that a script, where scripts may run, replaces by the player."""
    check(traces, language)
    data = zipped(pack(traces, summary, title))
    name = "cbviz-" + hashlib.sha256((data + language).encode()).hexdigest()[:16]
    code = zipped(joined().encode("utf-8"))
    look = json.dumps(style()).replace("</", "<\\/")
    alt = markup.escape(text(traces))
    picture = data_uri(svg(traces, language=language)) if drawable(traces) else ""
    return f"""<div id="{name}" data-cbviz="player"><img alt="{alt}" style="max-width:100%" src="{picture}"></div>
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
    await mount(inner, "{data}", {{ language: "{language}" }});
    const look = document.createElement("style");
    look.textContent = {look};
    place.replaceChildren(look, inner);
  }}
}})().catch((error) => console.warn("cbviz shows the picture:", error));
</script>"""


def text(traces: Sequence[Trace]) -> str:
    """The same on every machine: iterations, occupancy and order of completion of each lane; no timings."""
    lines = []
    for trace in traces:
        table = trace.requests
        done = [i for i in range(len(table)) if table.reason[i] >= 0]
        order = [int(table.id[i]) for i in sorted(done, key=lambda i: (int(table.finished[i]), int(table.slot[i])))]
        shown = " ".join(map(str, order[:32])) + (" …" if len(order) > 32 else "")
        lines.append(
            f"{trace.meta.policy}: {len(trace.iterations)} iterations on {trace.meta.slots} slots, "
            f"occupancy {trace.occupancy:.1%}, {len(done)}/{len(table)} requests, in the order {shown}"
        )
    return "\n".join(lines)


def mimebundle(
    traces: Sequence[Trace], summary: Finish | None = None, *, title: str = "Race", language: str = "en"
) -> dict[str, str]:
    """What a notebook keeps of a run: a picture that upgrades itself to the player, and text without timings.

    The same traces give the same bundle, byte for byte.
    """
    return {"text/html": fragment(traces, summary, title=title, language=language), "text/plain": text(traces)}

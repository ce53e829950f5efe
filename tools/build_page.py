"""Build the page: the race in one file that needs no install, no network and no server.

    python tools/build_page.py [--out build/page/index.html] [--course URL]

The page is made from the repository alone: the board, the modules of `web/`, the built-in model and a recorded race.
Its content security policy allows one script and one style, both by their hash; a worker from a Blob; WebAssembly; and
no connection to anywhere.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import html as markup
import json
import re
import sys
from pathlib import Path

import cbviz
from cbviz.messages import Message, lines
from cbviz.paths import new_file, write_whole
from cbviz.view import player
from cbviz.view.pack import meta_block, trace_blocks
from cbviz.workload import Request, Workload

sys.path.insert(0, str(Path(__file__).resolve().parent))
import page_data
import page_scripts

RECORDED = "smollm2-8"
"""The race that plays when the page opens."""
STORY = (6, 3, 21, 9, 4, 12, 2, 7, 16, 5, 3, 8)
"""Output lengths of the twelve requests of the three steps; four slots."""
INSTALL = "python3 -m venv .venv\n.venv/bin/pip install cbviz\n.venv/bin/cbviz race"
"""What the page tells a reader to type; a test does it with the built wheel."""
COURSE = "../../notebooks/README.md"
"""Where the course is, seen from build/page in a checkout."""
LARGEST, LARGEST_ZIPPED = 5_000_000, 3_200_000
"""Bytes of the page, plain and as a server would send it."""

_BLANK = re.compile(r"\{\{(\w+)\}\}")
_SAID = re.compile(r'data-say="(\w+)"(?P<rest>[^>]*)></')


def story() -> bytes:
    """The race of the three steps: schedules of forced lengths, one second an iteration."""
    requests = tuple(
        Request(id=i, prompt=(5,) * 8, max_new_tokens=24, output_length=length, text=f"{length} tokens, please")
        for i, length in enumerate(STORY)
    )
    workload = Workload("twelve requests", requests)
    traces = [cbviz.schedule(policy, workload, slots=4) for policy in ("static", "continuous")]
    meta = player.describe(traces, None, Message("board.title_race"), None)
    for lane in meta["lanes"]:  # the page has two boards, and a screen reader lists their lanes by name
        lane["name"] += " on 4 slots"
    return meta_block(meta) + b"".join(trace_blocks(number, trace) for number, trace in enumerate(traces))


def zipped(data: bytes | str) -> str:
    """base64 of gzip; the same text for the same bytes."""
    return player.zipped(data.encode() if isinstance(data, str) else data)


def hashed(text: str) -> str:
    """The source of a content security policy that allows exactly this script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(script: str, style: str) -> str:
    """The content security policy: nothing but what the page contains."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashed(script)} 'wasm-unsafe-eval'",
            f"style-src {hashed(style)}",
            "worker-src blob:",
            "img-src data: blob:",
            "connect-src 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        )
    )


def page(course: str = COURSE) -> str:
    """The whole page as text; `course` is the address of the course."""
    words = lines("en")
    script = page_scripts.page().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    style = (page_scripts.WEB / "page" / "page.css").read_text("utf-8") + player.style()
    parts = {
        "policy": policy(script, style),
        "title": markup.escape(words["page.title"]),
        "style": style,
        "script": script,
        "course": markup.escape(course),
        "install": markup.escape(INSTALL),
        "recorded": zipped(player.pack(cbviz.recorded(RECORDED), None, Message("board.title_race"))),
        "story": zipped(story()),
        "worker": zipped(page_scripts.worker()),
        "model": zipped(json.dumps(page_data.model(), separators=(",", ":"))),
        "kernel": zipped((page_scripts.WEB / "executor" / "matmul.wasm").read_bytes()),
        "weights": zipped(page_data.weights()),
    }
    template = (page_scripts.WEB / "page" / "page.html").read_text("utf-8")
    # Without scripts the page can still be read, in English.
    template = _SAID.sub(lambda m: m[0].removesuffix("</") + markup.escape(words[f"page.{m[1]}"]) + "</", template)
    return _BLANK.sub(lambda blank: parts[blank[1]], template)


def main() -> None:
    """Write the page and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="build/page/index.html", help="the file to write")
    parser.add_argument("--course", default=COURSE, help="where the page's links to the course lead")
    options = parser.parse_args()
    target = Path(options.out)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = page(options.course)
    write_whole(new_file(target), text)
    size, small = len(text.encode()), len(gzip.compress(text.encode(), compresslevel=9))
    print(f"{target}: {size / 1e6:.2f} MB, {small / 1e6:.2f} MB as gzip")


if __name__ == "__main__":
    main()

"""Build the page: the race in one file that needs no install, no network and no server.

    python tools/build_page.py [--out build/page/index.html] [--course URL] [--without-python]

The page is made from the repository alone: the board, the modules of `web/`, the built-in model and a recorded race.
Beside it lies python.js (`page_python`), which a reader who writes Python asks for; where npm cannot fetch Pyodide, the
page is built without it. The content security policy allows the page's script, python.js and one style, each by its
hash; a worker from a Blob; WebAssembly; and no connection to anywhere.
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
from cbviz.messages import Message, languages, lines
from cbviz.paths import new_file, write_whole
from cbviz.view import player
from cbviz.view.pack import meta_block, trace_blocks
from cbviz.workload import Request, Workload

sys.path.insert(0, str(Path(__file__).resolve().parent))
import badges
import page_data
import page_python
import page_scripts
from normalise_notebooks import NOTEBOOKS

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
    """The race of the three steps: schedules of forced lengths, on which no clock ran."""
    requests = tuple(
        Request(id=i, prompt=(5,) * 8, max_new_tokens=24, output_length=length, text=f"{length} tokens, please")
        for i, length in enumerate(STORY)
    )
    workload = Workload("twelve requests", requests)
    traces = [cbviz.schedule(policy, workload, slots=4) for policy in ("static", "continuous")]
    meta = player.describe(traces, None, Message("board.title_race"), None)
    for lane in meta["lanes"]:  # the page has two boards, and a screen reader lists their lanes by name
        lane["name"] += " × 4"
    meta["finish"]["timed"] = False  # an iteration is a step of the story, and no second
    return meta_block(meta) + b"".join(trace_blocks(number, trace) for number, trace in enumerate(traces))


def zipped(data: bytes | str) -> str:
    """base64 of gzip; the same text for the same bytes."""
    return player.zipped(data.encode() if isinstance(data, str) else data)


def hashed(text: str) -> str:
    """The source of a content security policy that allows exactly this script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(script: str, style: str, python: str | None = None) -> str:
    """The content security policy: nothing but what the page contains, and `python`, the script beside it."""
    scripts = " ".join(hashed(text) for text in (script, python) if text is not None)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts} 'wasm-unsafe-eval'",
            f"style-src {hashed(style)}",
            "worker-src blob:",
            "img-src data: blob:",
            "connect-src 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        )
    )


def links(docs: str | None, repository: str | None) -> str:
    """Links to the documentation and, once the repository has an address, to it and to the course on Colab and Binder.

    A link whose place depends on the language carries all of them; the page takes the one that it speaks.
    """
    found: list[tuple[str, dict[str, str]]] = []
    if docs is not None:
        found.append(("docs", dict.fromkeys(languages(), docs)))
    if repository is not None:
        found.append(("github", dict.fromkeys(languages(), repository)))
        notebooks = {language: sorted((NOTEBOOKS / language).glob("*.ipynb")) for language in languages()}
        places = {lang: badges.links(repository, lang, paths[0].name) for lang, paths in notebooks.items() if paths}
        found += [(name, {language: place[name] for language, place in places.items()}) for name in ("colab", "binder")]
    return "\n".join(
        f'<a class="button" href="{markup.escape(to["en"])}" data-to="{markup.escape(json.dumps(to))}" '
        f'data-say="{name}"></a>'
        for name, to in found
    )


def page(course: str = COURSE, python: str | None = None, docs: str | None = None) -> str:
    """The whole page as text.

    Parameters
    ----------
    course
        The address of the course.
    docs
        The address of the documentation; None has no link to it.
    python
        The text of the script beside the page (`page_python.script()`); None builds a page without Python.
    """
    words = lines("en")
    script = page_scripts.page().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    style = (page_scripts.WEB / "page" / "page.css").read_text("utf-8") + player.style()
    parts = {
        "policy": policy(script, style, python),
        "python": "" if python is None else hashed(python).strip("'"),
        "title": markup.escape(words["page.title"]),
        "style": style,
        "script": script,
        "course": markup.escape(course),
        "links": links(docs, badges.repository()),
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
    template = template.replace("{{links}}", parts.pop("links"))
    template = _SAID.sub(lambda m: m[0].removesuffix("</") + markup.escape(words[f"page.{m[1]}"]) + "</", template)
    return _BLANK.sub(lambda blank: parts[blank[1]], template)


def python_script() -> str | None:
    """The script beside the page; None, with a line on stderr, where Pyodide cannot be fetched."""
    try:
        return page_python.script()
    except page_python.UnavailableError as error:
        print(f"The page is built without Python: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Write the page and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="build/page/index.html", help="the file to write")
    parser.add_argument("--course", default=COURSE, help="where the page's links to the course lead")
    parser.add_argument("--without-python", action="store_true", help="leave Pyodide out, and fetch nothing")
    options = parser.parse_args()
    target = Path(options.out)
    target.parent.mkdir(parents=True, exist_ok=True)
    python = None if options.without_python else python_script()
    text = page(options.course, python)
    write_whole(new_file(target), text)
    if python is not None:
        write_whole(new_file(beside := target.with_name(page_python.NAME)), python)
        print(f"{beside}: {len(python) / 1e6:.2f} MB, loaded when a reader asks for Python")
    size, small = len(text.encode()), len(gzip.compress(text.encode(), compresslevel=9))
    print(f"{target}: {size / 1e6:.2f} MB, {small / 1e6:.2f} MB as gzip")


if __name__ == "__main__":
    main()

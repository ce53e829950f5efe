"""The site: it builds strictly, shows what the repository has, and asks no network for anything."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import unquote

import docs_benchmarks
import docs_site
import pytest
from nbformat.v4 import new_code_cell, new_output
from playwright.sync_api import Page, expect
from static_host import hosted

from cbviz import lab
from cbviz.course.exercise import exercises
from cbviz.trace import RECORDINGS
from tests.clocks import HANGS, until

ROOT = Path(__file__).resolve().parents[1]
FETCHES = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("link", "href"),
    ("form", "action"),
}


class Fetched(html.parser.HTMLParser):
    """What a browser would fetch for a page, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.boards = 0
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.fetched += [given[name] for kind, name in FETCHES if kind == tag and name in given]
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        self.boards += given.get("data-cbviz") == "player"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_notebook_is_a_page_and_its_boards_are_there(site: Path) -> None:
    for language in lab.LANGUAGES:
        for path in lab.originals(language):
            page = site / "course" / language / f"{path.stem}.html"
            kept = path.read_text("utf-8").count('data-cbviz=\\"player\\"')
            assert Fetched(page).boards == kept, page.name
            assert "cbviz-piece-" not in page.read_text("utf-8"), "a mark was left where an output belongs"
            assert "$$" not in re.sub(r"<(script|pre|code)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)


def test_nothing_is_fetched_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in Fetched(page).fetched:
            assert not re.match(r"(https?:)?//", address), f"{page.name} fetches {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text("utf-8")), style.name


def test_links_lead_somewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.parent.name == "players" or page.name == "404.html":
            continue
        seen = Fetched(page)
        for address in {*seen.fetched, *seen.links}:
            place = unquote(address.partition("#")[0].partition("?")[0])
            if place and not re.match(r"[a-z]+:", place):
                target = (page.parent / place).resolve()
                assert target.exists(), f"{page.relative_to(site)} leads to {address}"


def test_the_site_opens_with_the_page_that_needs_no_install(site: Path) -> None:
    front = site / "index.html"
    assert "connect-src 'none'" in front.read_text("utf-8")
    assert {"course/index.html", "watch.html"} <= set(Fetched(front).links)
    for page in ("watch.html", "course/index.html"):
        assert any((site / page).parent.joinpath(link).resolve() == front for link in Fetched(site / page).links)


def test_the_watch_page_holds_a_player_that_needs_no_kernel(site: Path) -> None:
    watch = Fetched(site / "watch.html")
    assert watch.boards == 1
    assert {link for link in watch.links if link.startswith("players/")} == {f"players/{n}.html" for n in RECORDINGS}
    for name in RECORDINGS:
        assert "connect-src 'none'" in (site / "players" / f"{name}.html").read_text("utf-8")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize(
    ("words", "where"),
    [("preemption", ""), ("抢占", "zh"), ("静态批处理", "zh"), ("空闲槽位", "zh")],
)
def test_search_finds_pages_from_a_folder_and_from_a_static_host(
    site: Path, page: Page, scheme: str, words: str, where: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with hosted(site) if scheme == "http" else nullcontext(site.as_uri()) as address:
        page.goto(f"{address}/course/index.html")
        box = page.locator("input.md-search__input")
        first = page.locator(".md-search-result__link").first

        def found() -> bool:
            """Typed anew: what is typed while the page is still being set up may be lost."""
            box.fill("")
            box.press_sequentially(words)
            box.press("End")  # the search listens to keys, and Chinese characters come without one
            page.wait_for_timeout(1000)
            return first.is_visible()

        until(found)
        in_language = re.compile(f"^{re.escape(address)}/.*{where}")  # a page in the language of the words
        expect(first).to_have_attribute("href", in_language, timeout=1000 * HANGS)
        expect(page.locator(".md-search-result mark").first).to_be_visible(timeout=1000 * HANGS)
        assert all(one.startswith((address, "data:", "blob:")) for one in asked)


def test_the_public_names_are_in_the_api(site: Path) -> None:
    import cbviz

    page = (site / "api.html").read_text("utf-8")
    listed = {name for name in cbviz._HOME if re.search(rf'id="cbviz\.[\w.]*\b{name}"', page)}
    assert set(cbviz._HOME) == listed


def test_every_result_is_on_the_benchmarks_page_and_its_figures_are_the_files() -> None:
    page = docs_benchmarks.page()
    for path in docs_benchmarks.results():
        assert f"(results/{path.name})" in page
        if path.suffix == ".txt":
            assert path.read_text("utf-8") in page
            continue
        result = json.loads(path.read_text("utf-8"))
        if docs_benchmarks.is_bench(result):
            assert f"| {result['tokens_per_second']:,.0f} | {result['efficiency']:.0%} |" in page
            for peer in result["peers"]:
                assert f"| {peer['name']} | {peer['seconds']:.2f} | {peer['tokens_per_second']:,.0f} |" in page
        if path.name.startswith("memory_"):
            for run in result["runs"]:
                assert f"| {run['name']} | {run['tokens_per_second']:,.0f} | {run['iterations']:,} |" in page


def test_figures_follow_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = (path for path in docs_benchmarks.results() if path.stem == "llama8b_w32_h100")
    result = json.loads(old.read_text("utf-8")) | {"tokens_per_second": 123456.0}
    (tmp_path / "new.json").write_text(json.dumps(result))
    (tmp_path / "strange.json").write_text('{"anything": 1}')
    monkeypatch.setattr(docs_benchmarks, "RESULTS", tmp_path)
    page = docs_benchmarks.page()
    assert "| 123,456 |" in page
    assert "[strange](results/strange.json)" in page


def test_what_a_model_wrote_is_text_on_the_site() -> None:
    cell = new_code_cell("x", outputs=[new_output("stream", text="<script>alert(1)</script>")])
    assert docs_site.output(cell.outputs[0]) == "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>"


TEACHING = (ROOT / "TEACHING.md").read_text("utf-8")


def test_teaching_names_every_notebook_and_only_files_that_exist() -> None:
    for path in lab.originals("en"):
        assert re.search(rf"\b{path.stem[:2]}\b", TEACHING), f"TEACHING.md forgets {path.stem}"
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEACHING):
        assert (ROOT / target).exists(), f"TEACHING.md leads to {target}"
    for name in re.findall(r'course\.check\("([^"]+)"', TEACHING):
        assert name in exercises()
    for tool in re.findall(r"python (tools/\w+\.py)", TEACHING):
        assert (ROOT / tool).is_file()


def test_teaching_leads_to_sections_that_the_notebooks_have() -> None:
    """*05, Many names* is a heading of notebook 05, and each of the fifteen questions of forums names one."""
    heads = {
        path.stem[:2]: {
            line.lstrip("# ")
            for cell in json.loads(path.read_text("utf-8"))["cells"]
            if cell["cell_type"] == "markdown"
            for line in "".join(cell["source"]).splitlines()
            if line.startswith("## ")
        }
        for path in lab.originals("en")
    }
    rows = re.findall(r"^\| .*\? \| (.+) \|$", TEACHING, re.MULTILINE)
    for row in rows:
        for number, section in re.findall(r"(\d\d), \*(.+?)\*", row):
            assert any(head.startswith(section) for head in heads[number]), f"{number} has no section {section!r}"
    forums = TEACHING.partition("## Where the questions of forums are answered")[2]
    assert len(re.findall(r"^\| .*\? \| .*(?:\*.+\*|11)", forums, re.MULTILINE)) == 15


def test_what_teaching_says_about_memory_is_what_was_measured() -> None:
    facts = json.loads((ROOT / "docs" / "memory.json").read_text("utf-8"))
    stated = dict(re.findall(r"^\| (\d\d_\w+) \| ([\d,]+) \|$", TEACHING, re.MULTILINE))
    assert stated == {row["notebook"]: f"{row['peak_bytes'] / 1e6:,.0f}" for row in facts["notebooks"]}
    assert max(row["peak_bytes"] for row in facts["notebooks"]) + facts["jupyterlab_bytes"] < 2e9, "too much for Binder"

"""The catalogue: every language has every line, every line is used, and Python fills a line in as the board does."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cbviz
from cbviz import messages
from cbviz.errors import CbvizError
from cbviz.messages import Message, as_json, in_language, languages, lines, say
from cbviz.reason import Reason, from_json
from cbviz.view.js_source import joined

ROOT = Path(__file__).resolve().parents[1]
CASES = json.loads((ROOT / "tests" / "messages.json").read_text("utf-8"))
KEYS = sorted(lines("en"))


def blanks(line: str) -> set[str]:
    return {blank[1] for blank in messages._BLANK.finditer(line)}


def fresh() -> None:
    for kept in (messages.languages, messages.lines, messages._parts, messages._quick, messages._blanks, joined):
        kept.cache_clear()


@pytest.fixture
def pseudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A third language: one file more in the folder."""
    for language in ("en", "zh"):
        (tmp_path / f"{language}.json").write_text(json.dumps(dict(lines(language))), encoding="utf-8")
    odd = {key: f"[{line}]" for key, line in lines("en").items()}
    odd |= {"language.name": "Pseudo", "language.tag": "en-GB", "language.html": "en-x-pseudo"}
    (tmp_path / "xx.json").write_text(json.dumps(odd), encoding="utf-8")
    monkeypatch.setattr(messages, "FOLDER", tmp_path)
    fresh()
    yield
    monkeypatch.undo()
    fresh()


# ------------------------------------------------------------------ the files


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_line_with_its_blanks(language: str) -> None:
    own = lines(language)
    assert own.keys() == lines("en").keys()
    assert {key: blanks(line) for key, line in own.items()} == {k: blanks(v) for k, v in lines("en").items()}
    assert all(line.strip() for line in own.values())


def test_a_line_with_a_count_has_both_variants() -> None:
    for key in KEYS:
        if key.startswith(("course.", "term.")):
            continue  # their keys are sentences, in which a full stop is one
        stem, _, variant = key.rpartition(".")
        if variant in ("one", "other"):
            assert {f"{stem}.one", f"{stem}.other"} <= set(KEYS)
            assert stem not in KEYS


def source() -> str:
    """All code that shows a line, and the notebooks, whose tables have headings."""
    files = [path for kind in ("*.py", "*.js") for path in (ROOT / "cbviz").rglob(kind)]
    files += [path for kind in ("*.js", "*.html") for path in (ROOT / "web").rglob(kind)]
    files.append(ROOT / "tools" / "build_page.py")
    return "\n".join(path.read_text("utf-8") for path in (*files, *(ROOT / "notebooks" / "en").glob("*.ipynb")))


FILLED_WITH_ONE = re.compile(
    r"(?<![\w.,])1 (?:(?:KV|prompt|output|wasted|forward) )*(?:requests|slots|iterations|tokens|lanes|runs|answers"
    r"|blocks|rows|positions|preemptions|prompts|passes|arrivals|slot-iterations|batches|clients|lines|seconds)\b(?!/)"
)
NEVER_ONE = ("page.", "board.set_slots.other", "course.07.blocks hint 2", "verdict.times", "verdict.undecided")
"""Lines whose number is above 1 by construction (limits and races of the page, repeats), or a term of a formula."""


def test_one_of_anything_is_written_in_the_singular() -> None:
    wrong = {}
    for key in KEYS:
        plural = key.endswith(".other") and not key.startswith(("course.", "term."))
        chosen = {"n": "7", "count": "7"} if plural else {}
        with_one = messages._BLANK.sub(
            lambda blank, chosen=chosen: blank[2] if blank[2] is not None else chosen.get(blank[1], "1"),
            lines("en")[key],
        )
        if FILLED_WITH_ONE.search(with_one) and not key.startswith(NEVER_ONE):
            wrong[key] = with_one
    assert not wrong


def test_several_counts_choose_their_own_words() -> None:
    facts = {"model": "tiny", "device": "cpu", "slots": "1", "requests": "1", "seed": "0", "tokens": "1,024"}
    assert say("en", "cli.setting", facts).startswith(
        "tiny on cpu, 1 slot, 1 request, seed 0; KV memory of 1,024 tokens"
    )
    assert say("zh", "cli.setting", facts).startswith("tiny，设备 cpu，1 个槽位，1 个请求")
    assert str(Reason("lacks_blocks", needed=1, free=0)).startswith("it needs 1 KV block for")
    assert str(Reason("lacks_blocks", needed=1.0, free=1)).endswith("and 1 is free")
    assert Reason("lacks_blocks", needed=2, free=1).in_language("zh").endswith("需要 2 个 KV 块，而空闲 1 个")


def test_every_line_is_used() -> None:
    text = source()
    made_of_parts = re.compile(
        # the ending is a fact of the run: a state's name, why a request ended, a control, a scheme, a row of a table
        r"board\.(why_|set_|name_|\w+_title$)|verdict\.(pair|every|best|behind|clock|nothing_even)_|policy\.(orca|shortest_first)\.|why\.line|course\.\d\d\.|language\."
        r"|doctor\.(column|gantt|rule|unknown)\.|decompose\.(column|step|order)\."
    )
    unused = []
    for key in KEYS:
        group, _, rest = key.partition(".")
        stem = rest.removesuffix(".one").removesuffix(".other") if group not in ("course", "term") else rest
        # groups whose code leaves the first part out
        alone = ("reason", "board", "course", "term", "knob", "table", "page")
        wanted = stem if group in alone else f"{group}.{stem}"
        if made_of_parts.match(key):
            continue
        spellings = [re.escape(wanted), re.escape(json.dumps(wanted)[1:-1])]
        if group in ("board", "page"):
            spellings.append(re.escape(f"{group}.{stem}"))
        if not re.search(rf"""["'`\\](?:{"|".join(spellings)})["'`\\]""", text):
            unused.append(key)
    assert not unused


def test_every_line_that_python_names_is_there() -> None:
    named = set()
    for path in (ROOT / "cbviz").rglob("*.py"):
        text = path.read_text("utf-8")
        named |= {f"reason.{code}" for code in re.findall(r'\bReason\(\s*"([\w.]+)"', text)}
        named |= set(re.findall(r'\bMessage\(\s*"([\w.]+)"', text))
        named |= set(re.findall(r'\bsay\(\w+, "([\w.]+)"', text))
    assert len(named) > 80
    known = {key.removesuffix(".one").removesuffix(".other") for key in KEYS}
    assert named <= known | {"board.test"}


def test_every_line_that_a_lesson_names_is_there() -> None:
    from cbviz.course.lessons import LESSONS

    for lesson in LESSONS:
        for exercise in lesson.EXERCISES:
            for key in (exercise.praise, *exercise.hints):
                assert f"course.{key}" in KEYS
    for path in (ROOT / "cbviz" / "course").rglob("*.py"):
        for key in re.findall(r'\b(?:Mistake|say)\(\s*"([^"{}]+)"', path.read_text("utf-8")):
            assert f"course.{key}" in KEYS, path


# ------------------------------------------------------------------ one rule


@pytest.mark.parametrize(("line", "facts", "filled"), CASES["lines"])
def test_a_line_is_filled_in_as_the_board_fills_it_in(line: str, facts: dict[str, object], filled: str) -> None:
    lines("en")["board.test"] = line
    messages._parts.cache_clear()
    try:
        assert say("en", "board.test", facts) == filled
    finally:
        del lines("en")["board.test"]
        messages._parts.cache_clear()


@pytest.mark.parametrize(("key", "facts", "filled"), CASES["counts"])
def test_a_count_chooses_the_variant(key: str, facts: dict[str, object], filled: str) -> None:
    assert say("en", key, facts) == filled


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("fact", [0, -7, 2**70, 0.0, -0.0, 1.0, 1.2, 1 / 3, 1e15, 1e16, 1e-9, -2.5, 1.7e308])
def test_a_number_reads_the_same_however_quickly_it_is_written(fact: float) -> None:
    facts = {"waiting": 3, "running": 2, "ratio": fact, "least": 3, "limit": 20, "decodes": 4}
    reason = Reason("too_few_wait", **facts)
    assert str(reason) == say("en", reason.key, facts)
    assert reason.facts == facts


def test_a_reason_is_text_code_and_facts() -> None:
    short = Reason("lacks_blocks", needed=3, free=1)
    assert short == "it needs 3 KV blocks for its prompt + max_new_tokens, and 1 is free"
    assert hash(short) == hash(str(short))
    assert (short.code, short.facts, short.key) == ("lacks_blocks", {"needed": 3, "free": 1}, "reason.lacks_blocks")
    assert short.in_language("zh") == "它的提示词 + max_new_tokens 需要 3 个 KV 块，而空闲 1 个"
    assert type(str(short)) is str
    assert cbviz.Reason is Reason


def test_it_is_immutable_and_survives_copies_and_json() -> None:
    inner = Reason("cached", found=2, tokens=5)
    both = Reason("then", first="mine", second=inner)
    assert both == "mine; 2 of its 5 tokens were cached"
    assert both.in_language("zh") == "mine；它的 5 个 token 中有 2 个已在缓存里"
    for twin in (copy.copy(both), copy.deepcopy(both), pickle.loads(pickle.dumps(both)), from_json(as_json(both))):
        assert type(twin) is Reason
        assert (twin, twin.as_json()) == (both, both.as_json())
    assert json.loads(json.dumps(as_json(both))) == as_json(both)
    both.facts["first"] = "changed"
    assert both.facts["first"] == "mine"
    with pytest.raises(AttributeError, match="a Reason is immutable"):
        both.key = "x"
    with pytest.raises(AttributeError, match="immutable"):
        del both.key


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Reason("nonsense"), r"there is no message 'reason\.nonsense'"),
        (lambda: Reason("blocks_needed_by"), r"'reason\.blocks_needed_by' needs the fact 'request'"),
        (
            lambda: Reason("blocks_needed_by", request=None),
            "it must be a number, text of at most 2,000 characters, True or False",
        ),
        (lambda: Reason("blocks_needed_by", request=float("nan")), "it must be a number, text"),
        (lambda: Reason("blocks_needed_by", request=[1]), "it must be a number, text"),
        (lambda: from_json(["a"]), r"is no message; a message is \[key, facts\]"),
    ],
)
def test_what_makes_no_message_is_refused_in_one_sentence(make: object, sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        make()  # type: ignore[operator]


def test_other_text_stays_as_it_is() -> None:
    assert in_language("ratio met", "zh") == "ratio met"
    assert in_language(Message("board.title_race"), "zh") == "竞赛"
    assert as_json("text") == from_json("text") == "text"


# ------------------------------------------------------------------ a third language


@pytest.mark.usefixtures("pseudo")
def test_a_language_is_one_file() -> None:
    from cbviz.course.words import say as course_says
    from cbviz.measure.side_by_side import side_by_side
    from cbviz.view.js_source import catalogue
    from cbviz.view.language import speak, spoken
    from cbviz.view.picture import svg
    from cbviz.view.run_table import RunTable
    from tests.pictures import requests

    assert languages() == ("en", "xx", "zh")
    trace = cbviz.schedule("static", cbviz.Workload("", requests([4, 2, 3])), slots=2)
    try:
        speak("xx")
        assert spoken() == "xx"
        answer = str(cbviz.why(trace, 3, 1))
        assert answer.startswith("[static, iteration 1: [")
        assert "[waits] — [a batch is running, and no request enters it before its longest has ended]" in answer
        assert course_says("right") == "[Right.]"
        assert cbviz.Board(trace).language == "xx"
    finally:
        speak("en")
    assert "[prefill]" in svg([trace], language="xx")
    assert "[stalls]" in RunTable.of(side_by_side(trace, language="xx"))._repr_mimebundle_()["text/html"]
    assert catalogue()["xx"]["reason.ratio_met"] == "[ratio met]"
    with pytest.raises(CbvizError, match="language must be 'en' or 'xx' or 'zh', not 'fr'"):
        speak("fr")


def test_a_race_and_its_live_board_speak_it(tmp_path: Path, pseudo: None) -> None:
    from cbviz.view.widget import LaneInfo, LiveBoard

    work = cbviz.Workload("three", tuple(cbviz.Request(i, (1, 2), 3) for i in range(3)))
    race = cbviz.race(slots=2, workload=work, language="xx", live=False)
    assert race.language == "xx"
    page = race.to_html(tmp_path / "race.html").read_text("utf-8")
    assert '<html lang="en-x-pseudo">' in page
    assert "<title>[Race]</title>" in page
    board = LiveBoard([LaneInfo("a", "", 2, 4)], language="xx")
    assert board._language == "xx"


def test_messages_within_messages_are_few() -> None:
    """A line has a blank twice: without a limit, forty levels would be more text than there is memory."""
    nested: object = 1
    for _ in range(messages.DEEPEST):
        nested = Reason("too_few_wait", waiting=1, running=nested, ratio=1, least=1, limit=1, decodes=1)
    assert messages.depth(nested) == messages.DEEPEST  # type: ignore[arg-type]
    with pytest.raises(CbvizError, match="a message with at most 5 in one another"):
        Reason("too_few_wait", waiting=1, running=nested, ratio=1, least=1, limit=1, decodes=1)


def test_facts_that_no_line_shows_are_dropped() -> None:
    reason = Reason("batch_full", size=1, z="q")
    assert reason.facts == {"size": 1}
    assert reason == Reason("batch_full", size=1)


def test_only_what_a_policy_or_a_file_brings_is_bounded() -> None:
    long = "q" * (messages.LONGEST_FACT + 1)
    mine = Message("board.dotted", first=long, second="cpu")
    assert mine.in_language("zh") == f"{long} · cpu"
    with pytest.raises(CbvizError, match=r"'first' of the message 'board\.dotted' .* text of at most 2,000 characters"):
        from_json(as_json(mine))
    with pytest.raises(CbvizError, match="it must be a number, text, True or False, or a message"):
        Message("board.dotted", first=None, second="cpu")


class OwnMessage(Message):
    """A caller's subclass, whose methods could do anything."""


@pytest.mark.parametrize(
    ("code", "facts", "says"),
    [
        (3, {}, "the code of a reason is text, such as 'waited_too_long', not 3."),
        ("batch_full", {"size": 10**5000}, "it must be a number"),
        ("batch_full", {"size": "q" * 2001}, "text of at most 2,000 characters"),
        ("batch_full", {"size": 1, "z": "q" * 3_000_000}, "text of at most 2,000 characters"),
        ("batch_full", {"size": float("nan")}, "it must be a number"),
        ("batch_full", {"size": OwnMessage("reason.ratio_met")}, "it must be a number"),
        ("batch_full", {}, "needs the fact 'size'"),
        ("no_such", {}, "there is no message 'reason.no_such'."),
    ],
)
def test_a_reason_that_no_line_can_show_is_refused_in_a_sentence(
    code: object, facts: dict[str, object], says: str
) -> None:
    with pytest.raises(CbvizError, match=re.escape(says)):
        Reason(code, **facts)  # type: ignore[arg-type]

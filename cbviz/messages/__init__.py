"""Every sentence that cbviz shows in several languages: one JSON file a language, read by Python and by the board.

A file maps keys to lines. A key's first part says who shows the line: `reason.` policies and engine, `policy.` what a
policy does, `why.`, `board.` the board and its pictures, `verdict.` what a race showed, `load.` what a load run showed,
`decompose.` what each part of a headline is worth, `table.` side-by-side tables, `answers.` tables of answers, `cli.`
the command line, `slides.` a speaker's notes, `course.` the notebooks and `term.` the headings of their tables.
`language.` is the language's own name and its tag for numbers.

One rule fills in a line, here and in `board/js/words.js`; `tests/messages.json` holds the cases that both must pass:

- `{name}` is replaced by the fact of that name; nothing else in a line is special. A fact may be a message itself.
- Text stays as it is. Whole numbers are written in digits, others with at most six significant digits (as by `%g`).
- Where a line depends on a count, the key has the variants `key.one` and `key.other`, and the fact `n` chooses: `one`
  for 1. A language without a plural says the same twice.
- Where it depends on several, `{name:request|requests}` is the first word if the fact of that name reads 1, else the
  second: "{name} {name:request|requests}". A language without a plural leaves it out.

The languages are the files of the folder, English first. So a new language is one new file, with the keys of `en.json`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from cbviz.checks import shown
from cbviz.errors import CbvizError

FOLDER = Path(__file__).parent
FIRST = "en"
"""The language that a run, a file and an error message are written in."""

_BLANK = re.compile(r"\{(\w+)(?::([^|{}]*)\|([^|{}]*))?\}")
_WHOLE = 2.0**53
"""Below it JavaScript knows whole numbers exactly."""
DEEPEST = 6
"""Messages within messages. A line may have a blank twice, so each level may double the text."""
LONGEST_FACT = 2_000
"""Characters of a text that fills a blank, where a policy or a file brings it."""


@cache
def languages() -> tuple[str, ...]:
    """The languages there are, by the names of their files: English, then the others by name."""
    found = sorted(path.stem for path in FOLDER.glob("*.json"))
    return (FIRST, *(name for name in found if name != FIRST))


@cache
def lines(language: str) -> dict[str, str]:
    """All lines of a language by their keys."""
    read: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text("utf-8"))
    return read


def check_language(language: object) -> str:
    """The language, if there is a file of it. Raises `CbvizError` that names those there are."""
    if isinstance(language, str) and language in languages():
        return language
    raise CbvizError(f"language must be {' or '.join(map(repr, languages()))}, not {shown(language)}.")


def say(language: str, key: str, facts: Mapping[str, Any] | None = None) -> str:
    """The line under a key, its blanks filled in.

    Parameters
    ----------
    language
        One of `languages()`.
    key
        Of the line, without `.one` or `.other`.
    facts
        Blank → number, text or message. Facts that the line has no blank for are ignored.

    Raises
    ------
    CbvizError
        There is no such line, or a fact is missing.

    Example
    -------
    >>> say("en", "why.slot_taken", {"request": 3})
    'the last free slot went to request 3'
    """
    known = facts or {}
    parts = _parts(language, key if known.get("n") != 1 or f"{key}.one" not in lines(language) else f"{key}.one")
    try:
        return "".join([part if isinstance(part, str) else _filled(language, part, known) for part in parts])
    except KeyError as missing:
        raise CbvizError(f"the message {key!r} needs the fact {missing}.") from None


_Blank = tuple[str, str | None, str | None]
"""The name of a fact, and the words for 1 and for other numbers where the blank chooses between words."""


@cache
def _parts(language: str, key: str) -> tuple[str | _Blank, ...]:
    """A line as text, blank, text, …"""
    line = lines(language).get(key, lines(language).get(f"{key}.other"))
    if line is None:
        raise CbvizError(f"there is no message {shown(key)}.")
    parts: list[str | _Blank] = []
    end = 0
    for blank in _BLANK.finditer(line):
        parts += [line[end : blank.start()], (blank[1], blank[2], blank[3])]
        end = blank.end()
    return (*parts, line[end:])


def _filled(language: str, blank: _Blank, facts: Mapping[str, Any]) -> str:
    """The text of a blank."""
    name, one, other = blank
    text = write(language, facts[name])
    return text if one is None or other is None else one if text == "1" else other


def write(language: str, fact: Any) -> str:
    """One fact as a line shows it."""
    if isinstance(fact, Message):
        return fact.in_language(language)
    if isinstance(fact, bool):
        return "true" if fact else "false"
    if isinstance(fact, float):
        return str(int(fact)) if fact.is_integer() and abs(fact) < _WHOLE else f"{fact:g}"
    return str(fact)


class Message(str):
    """A line that knows its key and its facts: English wherever text is wanted, and any other language on demand.

    An immutable value. As text it is the English sentence, so it can be compared, written into a file or searched as
    any other text; text that is not a `Message` is shown as it was written in every language.

    Parameters
    ----------
    key
        Of the line.
    facts
        What fills its blanks: whole numbers, finite floats, text, truth values, and messages. Others are dropped.

    Raises
    ------
    CbvizError
        An unknown key, a fact that is missing, or one of another type.

    Example
    -------
    >>> slots = Message("board.subtitle_slots", n=8, count="8")
    >>> slots, slots.in_language("zh")
    ('8 slots', '8 个槽位')
    """

    __slots__ = ("_facts", "key")

    key: str
    _facts: dict[str, Any]

    def __new__(cls, key: str, /, **facts: Any) -> Message:
        return cls._made(key, facts)

    @classmethod
    def _made(cls, key: str, facts: dict[str, Any], longest: int | None = None) -> Self:
        """The message, for facts that nothing else refers to. Policies make one an iteration, so this is quick."""
        form, blanks, words = _quick().get(key, _NO_FORM) if type(key) is str else _NO_FORM
        if len(facts) != blanks:
            form = ""
        texts = facts
        for name, fact in facts.items():
            if type(fact) is int:
                continue
            if type(fact) is float and math.isfinite(fact):
                texts = dict(facts) if texts is facts else texts
                texts[name] = write(FIRST, fact)
            else:
                form = ""
        if words and form:
            texts = dict(facts) if texts is facts else texts
            for place, name, one, other in words:
                texts[place] = one if facts.get(name) == 1 else other
        try:
            text = form % texts if form else ""
        except (KeyError, ValueError):  # a fact of another name, or a number with too many digits
            text = ""
        if not text:
            facts = _checked(key, facts, longest)
            text = say(FIRST, key, facts)
        made = _new_text(cls, text)
        _put_key(made, key)
        _put_facts(made, facts)
        return made

    @property
    def facts(self) -> dict[str, Any]:
        """Name → number, text or message; a copy."""
        return dict(self._facts)

    def in_language(self, language: str) -> str:
        """The line in another language."""
        return str(self) if check_language(language) == FIRST else say(language, self.key, self._facts)

    def as_json(self) -> list[Any]:
        """`[key, facts]`, as a file and the page hold it."""
        return [self.key, {name: as_json(fact) for name, fact in self._facts.items()}]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is immutable; make another one.")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __copy__(self) -> Message:
        return self

    def __deepcopy__(self, memo: object) -> Message:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.key, self._facts)

    @classmethod
    def of(cls, key: str, facts: Mapping[str, Any], longest: int | None = None) -> Self:
        """The message with this key. None lets a text among the facts be of any length."""
        return cls._made(key, dict(facts), longest)


_put_key, _put_facts = Message.key.__set__, Message._facts.__set__  # type: ignore[attr-defined]
"""How a new message gets its values, which `__setattr__` refuses to change."""
_new_text = str.__new__


def _remade(kind: type[Message], key: str, facts: Mapping[str, Any]) -> Message:
    return kind.of(key, facts)


_Words = tuple[tuple[str, str, str, str], ...]
_NO_FORM: tuple[str, int, _Words] = "", -1, ()


@cache
def _quick() -> dict[str, tuple[str, int, _Words]]:
    """Key → its line as `%` fills it in for facts that are all finite numbers, the number of its facts, and its words.

    Words are those that a number chooses: their place in the line, the name of the fact, the word for 1, and the other.
    Lines that a count chooses are left out.
    """
    known = lines(FIRST)
    plain = {key: line for key, line in known.items() if key.rpartition(".")[2] not in ("one", "other")}
    found = {}
    for key, line in plain.items():
        blanks = [blank.groups() for blank in _BLANK.finditer(line)]
        words = {(f"{n}:{one}|{other}", n, one, other) for n, one, other in blanks if one is not None}
        form = _BLANK.sub(lambda blank: f"%({blank[0][1:-1]})s", line.replace("%", "%%"))
        found[key] = (form, len({name for name, _, _ in blanks}), tuple(words))
    return found


@cache
def _blanks() -> dict[str, frozenset[str]]:
    """Key → the facts that its line uses in any variant, the count that chooses one included."""
    found: dict[str, set[str]] = {}
    for key, line in lines(FIRST).items():
        stem, _, variant = key.rpartition(".")
        name = stem if variant in ("one", "other") else key
        names = (blank[1] for blank in _BLANK.finditer(line))
        found.setdefault(name, set()).update(names, {"n"} if name == stem else ())
    return {key: frozenset(names) for key, names in found.items()}


def _checked(key: str, facts: Mapping[str, Any], longest: int | None) -> dict[str, Any]:
    """The facts that the line uses. Raises CbvizError for an unknown key and for a fact that no line can show."""
    used = _blanks().get(key) if type(key) is str else None
    if used is None:
        raise CbvizError(f"there is no message {shown(key)}.")
    for name, fact in facts.items():
        if not _showable(fact, longest):
            text = "text" if longest is None else f"text of at most {longest:,} characters"
            raise CbvizError(
                f"the fact {name!r} of the message {key!r} is {shown(fact)}; it must be a number, {text}, True or "
                f"False, or a message with at most {DEEPEST - 1} in one another."
            )
    return {name: fact for name, fact in facts.items() if name in used}


def _showable(fact: object, longest: int | None) -> bool:
    kind = type(fact)
    if kind is str:
        return longest is None or len(fact) <= longest  # type: ignore[arg-type]
    if kind is int:
        return int.bit_length(fact) <= 256  # type: ignore[arg-type]
    if kind is float:
        return math.isfinite(fact)  # type: ignore[arg-type]
    return kind is bool or (kind in OWN and depth(fact) < DEEPEST)  # type: ignore[arg-type]


OWN: set[type] = {Message}
"""The classes of messages. A subclass of a caller's is none of them: its methods could do anything."""


def depth(message: Message) -> int:
    """How many messages are within one another: 1 for one whose facts are numbers and text."""
    return 1 + max((depth(fact) for fact in message.facts.values() if isinstance(fact, Message)), default=0)


def in_language(text: str, language: str) -> str:
    """A message in a language; other text as it is."""
    return text.in_language(language) if isinstance(text, Message) else text


def as_json(value: Any) -> Any:
    """A message as `[key, facts]`; anything else as it is."""
    return value.as_json() if isinstance(value, Message) else value

"""A deck of the recorded races with speaker notes, in the Markdown of Marp: a picture a slide, and a comment below it.

Marp (https://marp.app) takes HTML comments for presenter notes, so `npx @marp-team/marp-cli slides.md --pptx` gives
slides whose notes are here; any editor shows the same text.
"""

from __future__ import annotations

from cbviz.measure.verdict import verdict
from cbviz.messages import say
from cbviz.trace import Trace, recorded

FRONT_MATTER = "---\nmarp: true\npaginate: true\n---\n"
NOTES = {
    "smollm2-8": ("slides.chat", "slides.chat_ask", "slides.chat_point", "slides.chat_conclude"),
    "llama-8b-32": ("slides.h100", "slides.h100_ask", "slides.h100_point", "slides.h100_conclude"),
    "llama-8b-128": ("slides.wide", "slides.wide_ask", "slides.wide_point", "slides.wide_conclude"),
}
"""For each recording: its title, what to ask, where to point, and, after the run's own counts, what to conclude."""


def deck(language: str = "en") -> str:
    """The deck as Markdown.

    Parameters
    ----------
    language
        One of `cbviz.messages.languages()`.

    Returns
    -------
    str
        A slide for each recording, with NAME.gif beside the file, and notes: what to ask first, where to point, what
        the run counted, what to conclude.
    """
    slides = [_slide(name, recorded(name), language) for name in NOTES]
    return FRONT_MATTER + "\n---\n".join([_opening(language), *slides])


def _opening(language: str) -> str:
    return f"\n# {say(language, 'slides.title')}\n\n{_comment([say(language, 'slides.opening')])}"


def _slide(name: str, lanes: tuple[Trace, ...], language: str) -> str:
    title, ask, point, conclude = (say(language, key) for key in NOTES[name])
    counted = (sentence.in_language(language) for sentence in verdict(*lanes).sentences)
    return f"\n## {title}\n\n![{title}]({name}.gif)\n\n{_comment([ask, point, *counted, conclude])}"


def _comment(paragraphs: list[str]) -> str:
    """Presenter notes. Nothing in them can end the comment early."""
    text = "\n\n".join(paragraphs).replace("-->", "→")
    return f"<!--\n{text}\n-->\n"

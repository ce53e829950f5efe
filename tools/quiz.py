"""The bank of quiz questions, as a page or as a sheet to hand out: docs/teaching/quiz.json, in English and in Chinese.

    python tools/quiz.py                              # all questions, with answers
    python tools/quiz.py --language zh 04 05          # those that notebooks 04 and 05 answer, in Chinese
    python tools/quiz.py --without-answers 00 01 02
    python tools/quiz.py --write                      # docs/teaching/quiz.md and quiz_zh.md, after a change of the bank

A question has an `id` whose first two digits name the notebook that answers it, and, where the answer is a number, a
`value`, which `tests/test_quiz.py` computes again. Answers have the blank `{value}` in its place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BANK = ROOT / "docs" / "teaching" / "quiz.json"
PAGES = {"en": BANK.with_name("quiz.md"), "zh": BANK.with_name("quiz_zh.md")}
HEADS = {"en": ("Quiz questions", "Notebook", "Answer:"), "zh": ("测验题", "笔记本", "答案：")}
"""The heading of the page, of a notebook's questions, and of an answer, by language."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its texts by language, and its number if the answer is one."""

    id: str
    questions: Mapping[str, str]
    answers: Mapping[str, str]
    value: float | None

    @property
    def notebook(self) -> str:
        """The two digits of the notebook that answers it."""
        return self.id[:2]

    def answer(self, language: str) -> str:
        """The answer, with its number."""
        number = "" if self.value is None else f"{self.value:,}"
        return self.answers[language].replace("{value}", number)


def bank() -> tuple[Question, ...]:
    """All questions, in the order of the course."""
    entries: list[dict[str, Any]] = json.loads(BANK.read_text("utf-8"))
    return tuple(
        Question(
            entry["id"],
            {language: entry[language]["question"] for language in HEADS},
            {language: entry[language]["answer"] for language in HEADS},
            entry.get("value"),
        )
        for entry in entries
    )


def page(questions: Sequence[Question], language: str, *, answers: bool = True) -> str:
    """Markdown: the questions under the notebook that answers them, and each answer below its question."""
    title, head, answered = HEADS[language]
    lines, last = [f"# {title}"], ""
    for question in questions:
        if question.notebook != last:
            last = question.notebook
            lines.append(f"## {head} {last}")
        lines.append(f"**{question.id}** {question.questions[language]}")
        if answers:
            lines.append(f"> *{answered}* {question.answer(language)}")
    return "\n\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page, or write the pages of the docs."""
    parser = argparse.ArgumentParser(description="Quiz questions of the course, as Markdown.")
    parser.add_argument("notebooks", nargs="*", help="two digits each, such as 05 (all)")
    parser.add_argument("--language", choices=sorted(HEADS), default="en")
    parser.add_argument("--without-answers", action="store_true", help="a sheet to hand out")
    parser.add_argument("--write", action="store_true", help="write the pages of the docs, and print nothing")
    options = parser.parse_args(argv)
    if options.write:
        for language, path in PAGES.items():
            path.write_text(page(bank(), language), "utf-8")
        return 0
    known = {question.notebook for question in bank()}
    if unknown := sorted(set(options.notebooks) - known):
        parser.error(f"no question is answered by notebook {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    chosen = [question for question in bank() if question.notebook in (options.notebooks or known)]
    print(page(chosen, options.language, answers=not options.without_answers), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

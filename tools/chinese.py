"""Chinese text with Chinese punctuation.

    python tools/chinese.py cbviz/course/words.py …     # rewrite the Chinese string literals of these files

Between and after Chinese characters, commas, colons and brackets are full-width; editors and keyboards easily produce
the other form. Code in backticks, addresses of links, formulas between dollars and HTML tags are left alone. Italics of
Chinese characters are removed.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path

FULL = str.maketrans({",": "\uff0c", ":": "\uff1a", ";": "\uff1b", "?": "\uff1f", "!": "\uff01"})
CHINESE = "\u3400-\u9fff\u3001\u3002\uff0c\uff1a\uff1b\uff1f\uff01\uff08\uff09\u300a\u300b\u201c\u201d"
LEFT_ALONE = re.compile(r"(```.*?```|`[^`\n]*`|\$[^$\n]+\$|\]\([^)\n]*\)|<[^>\n]+>|https?://\S+)", re.DOTALL)
AFTER = re.compile(rf"(?<=[{CHINESE}])[,:;?!]")
BEFORE = re.compile(rf"[,:;?!](?= *[*_“]*[{CHINESE}])")
TIGHT = re.compile(r"(?<!\d)[,;](?=\S)|[,;](?=[^\s\d])")  # English has a space after its commas
AT_END = re.compile(r"(?<=[\w`}})%*\]])[,:;?!](?=\s*(?:\n|$))")
ITALICS = re.compile(r"(?<!\*)\*([^*\s][^*\n]*)\*(?!\*)")
BRACKETS = re.compile(r"\(([^()]*)\)")
SPACES = re.compile(
    r"(?<=[\uff0c\uff1a\uff1b\uff1f\uff01\uff08\u3002])[ ]+|[ ]+(?=[\uff0c\uff1a\uff1b\uff1f\uff01\uff09\u3002])"
)


def is_chinese(text: str) -> bool:
    return re.search(r"[\u3400-\u9fff]", text) is not None


def fullwidth(text: str) -> str:
    """The text with full-width punctuation in its Chinese lines; other lines are unchanged."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group(0))
        return f"\ue000{len(kept) - 1}\ue001"

    bare = LEFT_ALONE.sub(keep, text)
    lines = [_line(line) if is_chinese(line) else line for line in bare.split("\n")]
    return re.sub("\ue000(\\d+)\ue001", lambda match: kept[int(match.group(1))], "\n".join(lines))


def _line(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    # Chinese characters have no italics: a slanted one looks broken.
    line = ITALICS.sub(lambda match: match.group(1) if is_chinese(match.group(1)) else match.group(0), line)
    for pattern in (AFTER, BEFORE, AT_END, TIGHT):
        line = pattern.sub(lambda match: match.group(0).translate(FULL), line)
    before = None
    while before != line:
        before = line
        line = BRACKETS.sub(_bracket, line)
        line = AFTER.sub(lambda match: match.group(0).translate(FULL), line)
    return indent + SPACES.sub("", line.lstrip())


def _bracket(match: re.Match[str]) -> str:
    start, end = match.span()
    inner, line = match.group(1), match.string
    behind = line[:start].rstrip("*_`")[-1:]
    near = is_chinese(inner + behind) or is_chinese(line[end : end + 1])
    return f"\uff08{inner}\uff09" if near else match.group(0)


def rewrite(path: Path) -> bool:
    """Rewrite the Chinese string literals of a Python file; returns whether anything changed."""
    source = path.read_text("utf-8")
    lines = source.splitlines(keepends=True)
    found = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.STRING]
    for token in reversed(found):
        if not is_chinese(token.string) or token.start[0] != token.end[0]:
            continue
        row, first, last = token.start[0] - 1, token.start[1], token.end[1]
        quote = token.string[-1]
        head, inner = token.string.split(quote, 1)
        lines[row] = lines[row][:first] + head + quote + fullwidth(inner[:-1]) + quote + lines[row][last:]
    after = "".join(lines)
    if after != source:
        path.write_text(after, "utf-8")
    return after != source


def main(argv: Sequence[str] | None = None) -> int:
    for name in sys.argv[1:] if argv is None else argv:
        if rewrite(Path(name)):
            print(f"{name}: rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())

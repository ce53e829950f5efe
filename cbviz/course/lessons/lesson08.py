"""Exercises of notebook 08, sharing and giving back."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "08.again right": Text(
        "The prompt and everything written so far, 20 + 30, in one pass, which also gives the next token.",
        "提示词加上已经写出的全部 token，20 + 30，一次前向传播读完，同时给出下一个 token。",
    ),
    "08.again prompt": Text(
        "{given} is the prompt alone. What it has written is kept as text, but its keys and values are gone, too.",
        "{given} 只是提示词。写出的文字还在，可是它们的键和值也没了。",
    ),
    "08.again written": Text(
        "{given} is what it has written; the keys and values of its prompt are gone as well.",
        "{given} 只是它写出的；提示词的键和值也没了。",
    ),
    "08.again cached": Text(
        "{given} is how many positions its cache had. The last token was never fed, and must be now.",
        "{given} 是原来缓存里的位置数。最后一个 token 还没有送进过模型，这次要送。",
    ),
    "08.again next": Text(
        "{given} counts the token that this pass gives; it is fed in the pass after.",
        "{given} 把这次要给出的 token 也算进去了；它要到下一次才送进模型。",
    ),
    "08.again swap": Text(
        "{given} is what comes after swapping. Here the keys and values were thrown away.",
        "{given} 是换出到主机内存的情形。这里的键和值已经扔掉了。",
    ),
    "08.again other": Text("{given} is not what the pass takes in.", "这次前向传播读入的不是 {given} 个。"),
    "08.again hint 1": Text(
        "Which tokens does it know? Of which of them are the keys and values still there?",
        "它知道哪些 token？其中哪些的键和值还在？",
    ),
    "08.again hint 2": Text(
        "It knows 20 + 30 tokens, and no keys and values are left.", "它知道 20 + 30 个 token，键和值一个也没剩下。"
    ),
    "08.found right": Text(
        "Equal from the very beginning, whole blocks only, and the last token is always computed.",
        "从最开头起就要相同，只算整块，最后一个 token 总要计算。",
    ),
    "08.found no number": Text("{call} gives {given}, which is no whole number.", "{call} 返回 {given}，不是整数。"),
    "08.found chain": Text(
        "{call} gives {given}: equal blocks behind different beginnings have different keys and values.",
        "{call} 返回 {given}：开头不同，后面的块即使相同，键和值也不一样。",
    ),
    "08.found whole": Text(
        "{call} gives {given}: only whole blocks are found.", "{call} 返回 {given}：只有整块才找得到。"
    ),
    "08.found last": Text(
        "{call} gives {given}: the last token must be computed, or there is nothing to draw the answer from.",
        "{call} 返回 {given}：最后一个 token 必须计算，否则就无从得出回答。",
    ),
    "08.found blocks": Text(
        "{call} gives {given}: that counts blocks, not tokens.", "{call} 返回 {given}：这是块数，不是 token 数。"
    ),
    "08.found first": Text(
        "{call} gives {given}: a later prompt in the cache has more in common.",
        "{call} 返回 {given}：缓存里后面的提示词有更长的相同开头。",
    ),
    "08.found other": Text(
        "{call} gives {given}; the engine finds {right}.", "{call} 返回 {given}；引擎找到 {right} 个。"
    ),
    "08.found hint 1": Text(
        "Count how many tokens two prompts have in common from the beginning, and stop at the first difference.",
        "从头数两个提示词有几个 token 相同，遇到第一个不同就停。",
    ),
    "08.found hint 2": Text(
        "That number, at most len(prompt) - 1, divided by the block size, rounded down, times the block size; the "
        "largest over all cached prompts.",
        "这个数（最多 len(prompt) - 1）除以块大小，向下取整，再乘块大小；对所有缓存的提示词取最大。",
    ),
}


def judge_again(answer: Any) -> None:
    """Prompt 20, 30 written, thrown out: tokens in the pass that brings it back? 50."""
    given = whole_number(answer)
    if given == 50:
        return
    known = {20: "prompt", 30: "written", 49: "cached", 51: "next", 1: "swap", 0: "swap"}
    raise Mistake(f"08.again {known.get(given, 'other')}", given=given)


CASES: tuple[tuple[list[list[int]], list[int], int], ...] = (
    ([[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4, 5, 6, 9], 4),
    ([[9, 9, 9, 9, 5, 6, 7, 8]], [1, 2, 3, 4, 5, 6, 7, 8, 9], 4),
    ([[1, 2, 3, 4]], [1, 2, 3, 4], 2),
    ([[1, 2, 8, 8, 8, 8], [1, 2, 3, 4, 5, 6]], [1, 2, 3, 4, 5, 7], 2),
    ([], [1, 2, 3], 2),
)
"""Prompts that were read before, a new prompt, and the size of a block."""


def judge_found(answer: Any) -> None:
    """found(cached, prompt, block): tokens that a prefix cache finds."""
    for cached, prompt, block in CASES:
        call = f"found({cached}, {prompt}, {block})"
        given = called(answer, [list(one) for one in cached], list(prompt), block, call=call)
        right = max((_whole(_common(one, prompt[:-1]), block) for one in cached), default=0)
        if given == right and not isinstance(given, bool):
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given // 1:
            raise Mistake("08.found no number", call=call, given=shown(given))
        mistakes = {
            max((_anywhere(one, prompt, block) for one in cached), default=-1): "chain",
            right // block: "blocks",
            _whole(_common(cached[0], prompt[:-1]), block) if cached else -1: "first",
            max((_common(one, prompt) for one in cached), default=-1): "whole",
            max((_common(one, prompt[:-1]) for one in cached), default=-1): "whole",
            max((_whole(_common(one, prompt), block) for one in cached), default=-1): "last",
        }
        raise Mistake(f"08.found {mistakes.get(int(given), 'other')}", call=call, given=given, right=right)


def _common(one: list[int], other: list[int]) -> int:
    """Tokens that both begin with."""
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return n


def _whole(tokens: int, block: int) -> int:
    return tokens // block * block


def _anywhere(one: list[int], other: list[int], block: int) -> int:
    """Tokens in equal blocks at the same place, whatever stands before them."""
    starts = range(0, min(len(one), len(other)) - block + 1, block)
    return sum(block for at in starts if one[at : at + block] == other[at : at + block])


EXERCISES = (
    Exercise("08.again", judge_again, "08.again right", ("08.again hint 1", "08.again hint 2"), "answer = 50"),
    Exercise(
        "08.found",
        judge_found,
        "08.found right",
        ("08.found hint 1", "08.found hint 2"),
        """def found(cached, prompt, block):
    most = 0
    for one in cached:
        n = 0
        while n < min(len(one), len(prompt) - 1) and one[n] == prompt[n]:
            n += 1
        most = max(most, n // block * block)
    return most

answer = found""",
    ),
)

"""Exercises of notebook 07, paging."""

from __future__ import annotations

from typing import Any

from cbviz.course.exercise import Exercise, Mistake, called, choice, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "07.blocks right": Text(
        "50 + 31 − 1 = 80 positions fill five blocks of 16 exactly: the keys of END are never written.",
        "50 + 31 − 1 = 80 个位置，正好填满五个 16 的块：END 的键从来不写。",
    ),
    "07.blocks last": Text(
        "{given} counts a position for END, but nobody comes after END to ask for its keys.",
        "{given} 给 END 也算了一个位置；可 END 之后再没有谁来查询它的键。",
    ),
    "07.blocks answer": Text(
        "{given} holds the answer only; the prompt has keys and values, too.",
        "{given} 只装得下回答；提示词也有键和值。",
    ),
    "07.blocks prompt": Text(
        "{given} holds the prompt only; the answer's tokens follow.", "{given} 只装得下提示词；后面还有回答的 token。"
    ),
    "07.blocks positions": Text(
        "{given} is a number of positions; a block holds 16 of them.", "{given} 是位置数；一个块装 16 个位置。"
    ),
    "07.blocks other": Text("{given} blocks are not what it takes at its end.", "结束时用的不是 {given} 块。"),
    "07.blocks hint 1": Text(
        "How many positions have keys and values when END is there?", "END 出现时，有键和值的位置有多少个？"
    ),
    "07.blocks hint 2": Text(
        "prompt + answer − 1 positions, 16 to a block, rounded up.", "提示词 + 回答 − 1 个位置，每块 16 个，向上取整。"
    ),
    "07.waste right": Text(
        "Only the last block can have empty places, so never more than block size − 1.",
        "只有最后一块可能有空位，所以最多浪费“块大小 − 1”个。",
    ),
    "07.waste no number": Text(
        "waste({positions}, {size}) gives {given}, which is no whole number.",
        "waste({positions}, {size}) 返回的是 {given}，不是整数。",
    ),
    "07.waste filled": Text(
        "waste({positions}, {size}) gives {given}: that is what the last block holds, not what it lacks.",
        "waste({positions}, {size}) 返回 {given}：这是最后一块已装的，不是还空着的。",
    ),
    "07.waste full": Text(
        "waste({positions}, {size}) gives {given}, but the last block is full there: nothing is wasted.",
        "waste({positions}, {size}) 返回 {given}，可这时最后一块正好装满，没有浪费。",
    ),
    "07.waste blocks": Text(
        "waste({positions}, {size}) gives {given}, which is the number of blocks.",
        "waste({positions}, {size}) 返回 {given}，这是块数。",
    ),
    "07.waste negative": Text(
        "waste({positions}, {size}) gives {given}: below 0, so the blocks were rounded down.",
        "waste({positions}, {size}) 返回 {given}：小于 0，看来块数是向下取整的。",
    ),
    "07.waste other": Text(
        "waste({positions}, {size}) gives {given}, where {right} places stay empty.",
        "waste({positions}, {size}) 返回 {given}，而实际空着 {right} 个位置。",
    ),
    "07.waste hint 1": Text(
        "Blocks × block size is what is taken. What is needed?", "块数 × 块大小是占用的，需要的是多少？"
    ),
    "07.waste hint 2": Text("-(-positions // size) rounds up.", "-(-positions // size) 就是向上取整。"),
    "07.scheme right": Text(
        "One block then holds any request, so each takes one at admission and never a second: paging with huge "
        "pages is "
        "reserving.",
        "这时一块就装得下任何请求，每个请求进来时拿一块，再也不拿第二块：页足够大的分页，就是预留。",
    ),
    "07.scheme small": Text(
        "A is the other end: nothing is ever wasted, and the tables are as long as they can be.",
        "A 是另一个极端：一点也不浪费，块表却最长。",
    ),
    "07.scheme usual": Text(
        "B is what engines use: a request of 80 positions takes five such blocks, one by one.",
        "B 是引擎常用的大小：80 个位置的请求要一块一块地拿五块。",
    ),
    "07.scheme never": Text(
        "D: look at the last row of the table of block sizes, and count the blocks of a request there.",
        "D 不对：看看块大小那张表的最后一行，数一数那里一个请求有几块。",
    ),
    "07.scheme hint 1": Text("When does a request never need a second block?", "什么时候，一个请求永远不需要第二块？"),
    "07.scheme hint 2": Text("When the longest request fits into one.", "当最长的请求也能装进一块的时候。"),
}


def judge_blocks(answer: Any) -> None:
    """Prompt 50, answer 31 tokens, blocks of 16: how many blocks at the end? 5."""
    given = whole_number(answer)
    known = {2: "answer", 4: "prompt", 80: "positions", 81: "positions"}
    if given == 5:
        return
    raise Mistake(f"07.blocks {'last' if given == 6 else known.get(given, 'other')}", given=given)


def judge_waste(answer: Any) -> None:
    """waste(positions, block_size): places of the last block that stay empty."""
    for positions, size in ((37, 16), (80, 16), (1, 4), (9, 1), (100, 384)):
        given = called(answer, positions, size, call=f"waste({positions}, {size})")
        right = -(-positions // size) * size - positions
        if given == right and not isinstance(given, bool):
            continue
        told = {"positions": positions, "size": size, "given": str(given)[:40], "right": right}
        if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given):
            raise Mistake("07.waste no number", **told)
        known = {positions % size: "filled", size: "full", -(-positions // size): "blocks"}
        key = "negative" if given < 0 else known.get(int(given), "other")
        raise Mistake(f"07.waste {key}", **told)


def judge_scheme(answer: Any) -> None:
    """With which block size is paging the same as reserving the maximum? C: as long as the longest request."""
    given = choice(answer, ("A", "B", "C", "D"))
    if given != "C":
        raise Mistake({"A": "07.scheme small", "B": "07.scheme usual", "D": "07.scheme never"}[given])


EXERCISES = (
    Exercise(
        "07.blocks",
        judge_blocks,
        "07.blocks right",
        ("07.blocks hint 1", "07.blocks hint 2"),
        "answer = -(-(50 + 31 - 1) // 16)",
    ),
    Exercise(
        "07.waste",
        judge_waste,
        "07.waste right",
        ("07.waste hint 1", "07.waste hint 2"),
        """def waste(positions, block_size):
    return -(-positions // block_size) * block_size - positions

answer = waste""",
    ),
    Exercise("07.scheme", judge_scheme, "07.scheme right", ("07.scheme hint 1", "07.scheme hint 2"), 'answer = "C"'),
)

"""Exercises of notebook 05, continuous batching."""

from __future__ import annotations

import heapq
from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, choice, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "05.hand right": Text(
        "S1 sits in the first slot until 5; S2, S3 and S4 follow each other in the second until 7; S5 takes the first "
        "from 5 to 8.",
        "S1 占第一个槽位到 5；S2、S3、S4 依次用第二个槽位到 7；S5 从 5 到 8 用第一个。",
    ),
    "05.hand static": Text(
        "{given} is static batching: 5 + 4 + 3, each pair waits for its longest.",
        "{given} 是静态批处理的结果：5 + 4 + 3，每一对都等最长的那个。",
    ),
    "05.hand sum": Text(
        "{given} is one request after the other; there are two slots.", "{given} 是逐个服务的结果；可槽位有两个。"
    ),
    "05.hand perfect": Text(
        "{given} shares the 15 tokens out evenly, but one request cannot be cut in two: the end is ragged.",
        "{given} 是把 15 个 token 平均分了，但一个请求不能拆成两半：收尾总是参差不齐的。",
    ),
    "05.hand late": Text(
        "{given} lets a freed slot stand empty: a slot freed in one iteration is refilled in the very next.",
        "{given} 让空出的槽位闲置了：这次迭代空出来的槽位，下一次迭代就补上。",
    ),
    "05.hand other": Text("{given} is not what the engine takes.", "引擎用的迭代数不是 {given}。"),
    "05.hand hint 1": Text(
        "Draw two rows. Put S1 and S2 in, and give the row that ends first to the next in the queue.",
        "画两行，放入 S1 和 S2，哪一行先结束，就把它给队列里的下一个。",
    ),
    "05.hand hint 2": Text(
        "The second slot is free after 1, then after 1 + 2, then after 1 + 2 + 4.",
        "第二个槽位先后在 1、1 + 2、1 + 2 + 4 之后空出来。",
    ),
    "05.count right": Text(
        "Each request goes to the slot that is free first: list scheduling, known since 1969.",
        "每个请求都去最先空出的槽位：这就是 1969 年以来人们所说的列表调度。",
    ),
    "05.count no number": Text(
        "iterations({lengths}, {slots}) gives {given}, which is no whole number.",
        "iterations({lengths}, {slots}) 返回 {given}，不是整数。",
    ),
    "05.count static": Text(
        "iterations({lengths}, {slots}) gives {given}, which is static batching.",
        "iterations({lengths}, {slots}) 返回 {given}，这是静态批处理。",
    ),
    "05.count sum": Text(
        "iterations({lengths}, {slots}) gives {given}, the sum of all lengths: that uses one slot only.",
        "iterations({lengths}, {slots}) 返回 {given}，这是全部长度之和：只用了一个槽位。",
    ),
    "05.count perfect": Text(
        "iterations({lengths}, {slots}) gives {given}, a lower bound: a request cannot be cut into pieces.",
        "iterations({lengths}, {slots}) 返回 {given}，这只是下界：一个请求不能切成几段分给几个槽位。",
    ),
    "05.count robin": Text(
        "iterations({lengths}, {slots}) gives {given}: that deals requests out in turn, though another slot is free "
        "sooner.",
        "iterations({lengths}, {slots}) 返回 {given}：这是轮流分配，可别的槽位明明先空出来。",
    ),
    "05.count sorted": Text(
        "iterations({lengths}, {slots}) gives {given}: that sorts the requests first, but nobody knows their lengths.",
        "iterations({lengths}, {slots}) 返回 {given}：这是先把请求排了序，可谁也不知道它们的长度。",
    ),
    "05.count other": Text(
        "iterations({lengths}, {slots}) gives {given}, and the engine takes {right}.",
        "iterations({lengths}, {slots}) 返回 {given}，而引擎实际用了 {right} 次。",
    ),
    "05.count hint 1": Text(
        "Keep one number a slot: the iteration after which it is free.",
        "给每个槽位记一个数：它在第几次迭代之后空出来。",
    ),
    "05.count hint 2": Text(
        "For each length: find the smallest of these numbers and add the length to it. At the end, take the largest.",
        "对每个长度：找出其中最小的数，加上这个长度。最后取最大的数。",
    ),
    "05.when right": Text(
        "Lengths differ, and requests wait for the slots that are freed early: both conditions are met.",
        "长度参差，又有请求在等着早早空出的槽位：两个条件都满足。",
    ),
    "05.when equal": Text(
        "In A all answers end together, so static batching wastes nothing that could be won.",
        "A 里所有回答同时结束，静态批处理本来就没有浪费，也就无可节省。",
    ),
    "05.when low": Text(
        "In B nobody waits: a freed slot has nobody to take it.",
        "B 里没有请求在等：槽位空出来也没有谁来接。",
    ),
    "05.when one": Text(
        "In D a batch is one request: it ends, the next begins, under both policies.",
        "D 里一批就是一个请求：它结束，下一个开始，两种策略没有区别。",
    ),
    "05.when hint 1": Text(
        "Two things are needed. What does a freed slot need, to be of use?",
        "需要两个条件。空出来的槽位要派上用场，得有什么？",
    ),
    "05.when hint 2": Text(
        "It must be freed before the batch ends, and somebody must wait for it.",
        "它要在批次结束之前空出来，还要有请求在等它。",
    ),
}


def judge_hand(answer: Any) -> None:
    """Lengths 5, 1, 2, 4, 3 on two slots: how many iterations does continuous batching take? 8."""
    given = whole_number(answer)
    known = {12: "static", 15: "sum", 7: "perfect", 9: "late", 10: "late"}
    if given == 8:
        return
    raise Mistake(f"05.hand {known.get(given, 'other')}", given=given)


def judge_count(answer: Any) -> None:
    """iterations(lengths, slots): what continuous batching takes."""
    for lengths, slots in (([9, 7, 6, 8, 12, 1], 2), ([3, 6, 2, 3, 3, 2, 2], 4), ([7], 4), ([4, 4, 4, 4, 4], 2)):
        given = called(answer, list(lengths), slots, call=f"iterations({lengths}, {slots})")
        right = _listed(lengths, slots)
        if given == right and not isinstance(given, bool):
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given):
            raise Mistake("05.count no number", lengths=lengths, slots=slots, given=shown(given))
        mistakes = {
            _listed(sorted(lengths), slots): "sorted",
            _listed(sorted(lengths, reverse=True), slots): "sorted",
            max(max(lengths), -(-sum(lengths) // slots)): "perfect",
            -(-sum(lengths) // slots): "perfect",
            max(sum(lengths[i::slots]) for i in range(slots)): "robin",
            sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots)): "static",
            sum(lengths): "sum",
        }
        key = mistakes.get(int(given), "other")
        raise Mistake(f"05.count {key}", lengths=lengths, slots=slots, given=given, right=right)


def _listed(lengths: list[int], slots: int) -> int:
    free = [0] * slots
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def judge_when(answer: Any) -> None:
    """Where does continuous batching help? Only where lengths differ and requests wait: C."""
    given = choice(answer, ("A", "B", "C", "D"))
    if given != "C":
        raise Mistake({"A": "05.when equal", "B": "05.when low", "D": "05.when one"}[given])


EXERCISES = (
    Exercise("05.hand", judge_hand, "05.hand right", ("05.hand hint 1", "05.hand hint 2"), "answer = 8"),
    Exercise(
        "05.count",
        judge_count,
        "05.count right",
        ("05.count hint 1", "05.count hint 2"),
        """def iterations(lengths, slots):
    free = [0] * slots
    for length in lengths:
        first = free.index(min(free))
        free[first] += length
    return max(free)

answer = iterations""",
    ),
    Exercise("05.when", judge_when, "05.when right", ("05.when hint 1", "05.when hint 2"), 'answer = "C"'),
)

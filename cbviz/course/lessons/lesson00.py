"""Exercises of notebook 00, watch it."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, choice
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "00.groups right": Text(
        "A group of one never waits, so it is continuous batching; a group of eight waits until all are free, as "
        "static batching does, but it leaves the slots empty instead of computing them in vain.",
        "一个一组从不等待，就是连续批处理；八个一组要等所有槽位都空出来，和静态批处理一样，只是让槽位空着，而不是空算。",
    ),
    "00.groups swapped": Text(
        "That is the wrong way round: which of the two never waits?", "说反了：两者之中，哪一个从不等待？"
    ),
    "00.groups one": Text(
        "The group of eight is right, the group of one is not: how long does it wait before it refills a slot?",
        "八个一组说对了，一个一组不对：它要等多久才补上一个槽位？",
    ),
    "00.groups eight": Text(
        "The group of one is right, the group of eight is not: when are eight slots free at once?",
        "一个一组说对了，八个一组不对：什么时候八个槽位会同时空着？",
    ),
    "00.groups no pair": Text(
        'Write two names, such as ("static", "static"): first for groups of 1, then for groups of 8; this is {given}.',
        '请写两个名字，例如 ("static", "static")：先是 1 个一组，再是 8 个一组；而这里是 {given}。',
    ),
    "00.groups unknown": Text(
        'The two policies that raced are "static" and "continuous"; {given} is neither.',
        '参加对比的两种策略是 "static" 和 "continuous"；{given} 两者都不是。',
    ),
    "00.groups hint 1": Text(
        "Read plan(): nobody enters while fewer slots are free than the group.",
        "读一读 plan()：空槽位少于组的大小时，谁也不放进来。",
    ),
    "00.groups hint 2": Text(
        "Set the group to 1, then to 8, run the race again, and compare iterations.",
        "把组的大小设为 1，再设为 8，重新运行，比较迭代数。",
    ),
    "00.win right": Text(
        "Nobody waits in the queue, so a freed slot has nobody to take it: both lanes are the same.",
        "队列里没有请求在等，空出的槽位也就没有谁来接：两条泳道完全一样。",
    ),
    "00.win mixed": Text(
        "A is the race that you just saw: lengths differ and requests wait, so there is much to win.",
        "A 正是你刚看过的那场：长度参差，又有请求在等，能省下很多。",
    ),
    "00.win fewer slots": Text(
        "With 4 slots 28 requests wait, and batches of four still end with their longest: there is something to win.",
        "只有 4 个槽位时，有 28 个请求在等，四个一批仍要等最长的：还是有得省。",
    ),
    "00.win more": Text(
        "More requests make the queue longer; slots that are freed early find even more who wait.",
        "请求越多，队列越长；早早空出的槽位，等着接的请求也越多。",
    ),
    "00.win hint 1": Text("What does a freed slot need, to be of use?", "槽位空出来，要派上用场，还得有什么？"),
    "00.win hint 2": Text(
        "Try it: cbviz.race(..., slots=32) with 32 questions.", "试一试：32 个问题，cbviz.race(..., slots=32)。"
    ),
}


def judge_groups(answer: Any) -> None:
    """Which built-in policy takes as many iterations as InGroups(1), which as InGroups(8)?"""
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise Mistake("00.groups no pair", given=shown(answer))
    for name in answer:
        if name not in ("static", "continuous"):
            raise Mistake("00.groups unknown", given=shown(name))
    one, eight = answer
    if (one, eight) == ("continuous", "static"):
        return
    if (one, eight) == ("static", "continuous"):
        raise Mistake("00.groups swapped")
    raise Mistake("00.groups one" if eight == "static" else "00.groups eight")


def judge_win(answer: Any) -> None:
    """Where is there nothing to win? Only where nobody waits: D."""
    given = choice(answer, ("A", "B", "C", "D"))
    if given != "D":
        raise Mistake({"A": "00.win mixed", "B": "00.win fewer slots", "C": "00.win more"}[given])


EXERCISES = (
    Exercise(
        "00.groups",
        judge_groups,
        "00.groups right",
        ("00.groups hint 1", "00.groups hint 2"),
        'answer = ("continuous", "static")',
    ),
    Exercise("00.win", judge_win, "00.win right", ("00.win hint 1", "00.win hint 2"), 'answer = "D"'),
)

"""Exercises of notebook 04, static batching."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "04.share right": Text(
        "Three slots for 60 iterations are 180 slot-iterations, 90 of them useful: half is wasted.",
        "三个槽位各 60 次迭代，共 180 个槽位迭代，其中 90 个有用：浪费了一半。",
    ),
    "04.share percent": Text(
        "{given} looks like percent; write the share as a number from 0 to 1.",
        "{given} 像是百分数；请写成 0 到 1 之间的数。",
    ),
    "04.share useful only": Text(
        "{given} divides the 90 useful slot-iterations by something else than the 180 that there are.",
        "{given} 的分母不对：有用的是 90 个，而槽位迭代一共有 180 个。",
    ),
    "04.share one slot": Text(
        "{given} looks at the shortest request only; the one of 20 tokens holds its slot in vain as well.",
        "{given} 只看了最短的请求；20 个 token 的那个也白白占着槽位。",
    ),
    "04.share count": Text(
        "{given} is a number of slot-iterations; the question asks for their share of all of them.",
        "{given} 是槽位迭代的个数；题目问的是它们占全部的比例。",
    ),
    "04.share requests": Text(
        "{given} counts requests that ended early; count slot-iterations, since one may be wasted more than another.",
        "{given} 数的是提前结束的请求；应该数槽位迭代，因为各个请求浪费的多少并不一样。",
    ),
    "04.share other": Text("{given} is not the share that is wasted.", "浪费的比例不是 {given}。"),
    "04.share hint 1": Text(
        "The batch runs as long as its longest request. How many slot-iterations does that make?",
        "批次要跑到最长的请求结束为止。一共有多少个槽位迭代？",
    ),
    "04.share hint 2": Text("Useful are 10 + 20 + 60 of them.", "其中有用的是 10 + 20 + 60 个。"),
    "04.count right": Text(
        "Each batch costs as much as its longest member, and the batches run one after the other.",
        "每一批的代价等于其中最长的那个，各批次依次运行。",
    ),
    "04.count no number": Text(
        "iterations({lengths}, {slots}) gives {given}, which is no whole number.",
        "iterations({lengths}, {slots}) 返回 {given}，不是整数。",
    ),
    "04.count sum": Text(
        "iterations({lengths}, {slots}) gives {given}, the sum of all lengths: that serves one request at a time.",
        "iterations({lengths}, {slots}) 返回 {given}，这是全部长度之和：相当于只有一个槽位，逐个服务。",
    ),
    "04.count perfect": Text(
        "iterations({lengths}, {slots}) gives {given}: that would take slots that are never wasted.",
        "iterations({lengths}, {slots}) 返回 {given}：那要求槽位一刻也不浪费。",
    ),
    "04.count longest": Text(
        "iterations({lengths}, {slots}) gives {given}, the longest of all: there is more than one batch.",
        "iterations({lengths}, {slots}) 返回 {given}，这是所有请求中最长的一个：可批次不止一个。",
    ),
    "04.count every batch longest": Text(
        "iterations({lengths}, {slots}) gives {given}: that runs every batch to the longest of all, not to its own.",
        "iterations({lengths}, {slots}) 返回 {given}：这是让每一批都跑到全体最长的长度，而不是本批最长的。",
    ),
    "04.count sorted": Text(
        "iterations({lengths}, {slots}) gives {given}: that sorts the requests first, but nobody knows their lengths.",
        "iterations({lengths}, {slots}) 返回 {given}：这是先把请求排了序，可谁也不知道它们的长度。",
    ),
    "04.count last batch": Text(
        "iterations({lengths}, {slots}) gives {given}: the last batch, which is not full, is missing.",
        "iterations({lengths}, {slots}) 返回 {given}：漏掉了最后没装满的那一批。",
    ),
    "04.count other": Text(
        "iterations({lengths}, {slots}) gives {given}, and the engine takes {right}.",
        "iterations({lengths}, {slots}) 返回 {given}，而引擎实际用了 {right} 次。",
    ),
    "04.count hint 1": Text(
        "Cut the list into batches of `slots`, in the order in which the requests came.",
        "按到来的次序，把列表切成每 slots 个一批。",
    ),
    "04.count hint 2": Text(
        "lengths[i : i + slots] is the batch that begins at i; what does it cost?",
        "lengths[i : i + slots] 是从 i 开始的一批；它要多少次迭代？",
    ),
    "04.worst right": Text(
        "One long request makes three short ones hold their slots: {share} of all slot-iterations are wasted.",
        "一个长请求，让三个短请求白白占着槽位：{share} 的槽位迭代被浪费。",
    ),
    "04.worst not four": Text(
        "Write four lengths in a list, each a whole number from 1 to 100; this is {given}.",
        "请写出由四个长度组成的列表，每个都是 1 到 100 的整数；而这里是 {given}。",
    ),
    "04.worst range": Text(
        "{given} is outside 1 to 100, or no whole number.", "{given} 不在 1 到 100 之间，或者不是整数。"
    ),
    "04.worst equal": Text(
        "Equal lengths waste nothing at all: all four end together.", "长度全都相等，一点也不浪费：四个同时结束。"
    ),
    "04.worst two long": Text(
        "{share} are wasted; more than one request keeps its slot useful for long.",
        "浪费了 {share}；真正长时间有用的槽位不止一个。",
    ),
    "04.worst not longest": Text(
        "{share} are wasted; the longest request could be longer still.", "浪费了 {share}；最长的请求还可以更长。"
    ),
    "04.worst not shortest": Text(
        "{share} are wasted; the short ones could be shorter still.", "浪费了 {share}；短的请求还可以更短。"
    ),
    "04.worst hint 1": Text(
        "What is wasted lies between each request's end and the end of the longest.",
        "浪费的是每个请求结束之后、最长的请求结束之前的那一段。",
    ),
    "04.worst hint 2": Text("One as long as can be, the others as short as can be.", "一个尽量长，其余尽量短。"),
}


def judge_share(answer: Any) -> None:
    """Three requests of 10, 20 and 60 tokens on three slots: which share of the slot-iterations is wasted?"""
    given = number(answer)
    shown = f"{given:g}"
    if abs(given - 0.5) < 0.005:
        return
    if given in (90, 180):
        raise Mistake("04.share count", given=shown)
    if given > 1:
        raise Mistake("04.share percent", given=shown)
    if min(abs(given - part) for part in (50 / 180, 50 / 60, 10 / 60)) < 0.005:
        raise Mistake("04.share one slot", given=shown)
    if abs(given - 2 / 3) < 0.01:
        raise Mistake("04.share requests", given=shown)
    if min(abs(given - part) for part in (90 / 60, 60 / 90, 1.0, 0.0)) < 0.005:
        raise Mistake("04.share useful only", given=shown)
    raise Mistake("04.share other", given=shown)


def judge_count(answer: Any) -> None:
    """iterations(lengths, slots): what static batching takes."""
    for lengths, slots in (([20, 30, 10, 40, 5], 2), ([3, 6, 2, 3, 3, 2, 2], 4), ([5, 1, 9, 2, 8], 2), ([7], 4)):
        call = f"iterations({lengths}, {slots})"
        given = called(answer, list(lengths), slots, call=call)
        batches = [lengths[i : i + slots] for i in range(0, len(lengths), slots)]
        right = sum(map(max, batches))
        if given == right and not isinstance(given, bool):
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given):
            raise Mistake("04.count no number", lengths=lengths, slots=slots, given=shown(given))
        rising = sorted(lengths)
        mistakes = {
            -(-sum(lengths) // slots): "perfect",
            sum(max(rising[i : i + slots]) for i in range(0, len(rising), slots)): "sorted",
            sum(max(rising[::-1][i : i + slots]) for i in range(0, len(rising), slots)): "sorted",
            sum(max(batch) for batch in batches if len(batch) == slots): "last batch",
            max(lengths) * len(batches): "every batch longest",
            max(lengths): "longest",
            sum(lengths): "sum",
        }
        key = mistakes.get(int(given), "other")
        raise Mistake(f"04.count {key}", lengths=lengths, slots=slots, given=given, right=right)


def judge_worst(answer: Any) -> tuple[str, dict[str, Any]]:
    """Four lengths from 1 to 100 that make static batching on four slots waste as much as it can."""
    if not isinstance(answer, list | tuple) or len(answer) != 4:
        raise Mistake("04.worst not four", given=shown(answer))
    for length in answer:
        if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= 100:
            raise Mistake("04.worst range", given=shown(length))
    longest = max(answer)
    share = f"{1 - sum(answer) / (4 * longest):.1%}"
    if sorted(answer) == [1, 1, 1, 100]:
        return "04.worst right", {"share": share}
    if len(set(answer)) == 1:
        raise Mistake("04.worst equal")
    if longest < 100:
        raise Mistake("04.worst not longest", share=share)
    key = "two long" if sum(length > longest / 2 for length in answer) > 1 else "not shortest"
    raise Mistake(f"04.worst {key}", share=share)


EXERCISES = (
    Exercise(
        "04.share",
        judge_share,
        "04.share right",
        ("04.share hint 1", "04.share hint 2"),
        "answer = 1 - (10 + 20 + 60) / (3 * 60)",
    ),
    Exercise(
        "04.count",
        judge_count,
        "04.count right",
        ("04.count hint 1", "04.count hint 2"),
        """def iterations(lengths, slots):
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))

answer = iterations""",
    ),
    Exercise(
        "04.worst",
        judge_worst,
        "04.worst right",
        ("04.worst hint 1", "04.worst hint 2"),
        "answer = [1, 1, 1, 100]",
    ),
)

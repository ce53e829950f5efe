"""Exercises of notebook 11, your scheduler."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake
from cbviz.course.game import Result, play, yardstick
from cbviz.course.words import Text
from cbviz.errors import PolicyError
from cbviz.policies import Policy

SOONER, FEWER = 0.75, 0.8
"""Share of plain continuous batching's figure that is asked for."""

WORDS: dict[str, Text] = {
    "11.no policy": Text(
        "Hand over an object with a name, a summary and a method plan(view), such as MyPolicy() with its brackets; "
        "this "
        "is {given}.",
        "请交一个对象，它要有 name、summary 和方法 plan(view)，例如 MyPolicy()，别忘了括号；而这里是 {given}。",
    ),
    "11.stopped": Text("The engine stopped it: {error}", "引擎叫停了它：{error}"),
    "11.legal right": Text(
        "Every plan was legal and everybody was served, in {iterations:.0f} iterations a game; plain continuous "
        "batching "
        "takes {base:.0f}.",
        "每个计划都合法，所有请求都已服务，每局平均 {iterations:.0f} 次迭代；普通的连续批处理要 {base:.0f} 次。",
    ),
    "11.sooner right": Text(
        "Score {score:.0f}: a request is done after {mean:.0f} iterations on average; plain continuous batching, which "
        "has 100 points, takes {base:.0f}. The last one is done after {worst:.0f} instead of {base_worst:.0f}.",
        "得分 {score:.0f}：请求平均在 {mean:.0f} 次迭代后完成；普通的连续批处理（100 分）要 {base:.0f} 次。最晚的一"
        "个在第 "
        "{worst:.0f} 次完成，而后者是第 {base_worst:.0f} 次。",
    ),
    "11.sooner same": Text(
        "Legal, but a request is done after {mean:.0f} iterations on average, exactly as under plain continuous "
        "batching: "
        "who goes first does not change.",
        "合法，但请求平均在 {mean:.0f} 次迭代后完成，与普通的连续批处理一模一样：谁先谁后并没有变。",
    ),
    "11.sooner worse": Text(
        "Legal, but slower: {mean:.0f} iterations on average where plain continuous batching takes {base:.0f}.",
        "合法，但更慢：平均 {mean:.0f} 次迭代，而普通的连续批处理是 {base:.0f} 次。",
    ),
    "11.sooner near": Text(
        "Legal, and better: {mean:.0f} iterations on average instead of {base:.0f}; at most {goal:.0f} are asked for.",
        "合法，而且更好：平均 {mean:.0f} 次迭代，原来是 {base:.0f} 次；要求不超过 {goal:.0f} 次。",
    ),
    "11.sooner hint 1": Text(
        "One long request in front makes many short ones wait. What does view.waiting tell about lengths?",
        "前面一个长的，让后面许多短的干等。view.waiting 里有什么能说明长短？",
    ),
    "11.sooner hint 2": Text(
        "sorted(view.waiting, key=lambda r: r.max_new_tokens), and then count slots and blocks yourself: "
        "view.blocks_for(r.most) is what one reserves.",
        "先 sorted(view.waiting, key=lambda r: r.max_new_tokens)，再自己数槽位和块：每个请求预留 "
        "view.blocks_for(r.most) 块。",
    ),
    "11.fewer right": Text(
        "Score {score:.0f}: {iterations:.0f} iterations a game, where plain continuous batching, with 100 points, "
        "takes "
        "{base:.0f}; somebody was thrown out {preemptions} times.",
        "得分 {score:.0f}：每局 {iterations:.0f} 次迭代，普通的连续批处理（100 分）要 {base:.0f} 次；其间发生了 "
        "{preemptions} 次抢占。",
    ),
    "11.fewer same": Text(
        "Legal, but {iterations:.0f} iterations a game, exactly as many as plain continuous batching: it still "
        "reserves "
        "as much.",
        "合法，但每局 {iterations:.0f} 次迭代，与普通的连续批处理一样多：预留的还是那么多。",
    ),
    "11.fewer worse": Text(
        "Legal, but {iterations:.0f} iterations a game where plain continuous batching takes {base:.0f}.",
        "合法，但每局 {iterations:.0f} 次迭代，而普通的连续批处理只要 {base:.0f} 次。",
    ),
    "11.fewer near": Text(
        "Legal, and better: {iterations:.0f} iterations a game instead of {base:.0f}; at most {goal:.0f} are asked "
        "for.",
        "合法，而且更好：每局 {iterations:.0f} 次迭代，原来是 {base:.0f} 次；要求不超过 {goal:.0f} 次。",
    ),
    "11.fewer hint 1": Text(
        "Slots stand empty because memory is reserved that nobody uses. cbviz.Admit(r.id, reserve=r.known) "
        "reserves only "
        "what is known now.",
        "槽位空着，是因为预留的显存没有人用。cbviz.Admit(r.id, reserve=r.known) 只预留眼下已知的部分。",
    ),
    "11.fewer hint 2": Text(
        "Before every plan ask whether those who run can grow: add view.blocks_lacking(r, r.lacks) up, and while it "
        "exceeds view.free_blocks, preempt the newest: it frees r.blocks.",
        "每次先问：正在运行的还长得下吗？把 view.blocks_lacking(r, r.lacks) 加起来，只要超过 view.free_blocks，就抢"
        "占最新的请求，"
        "它会交还 r.blocks 块。",
    ),
    "11.fewer hint 3": Text(
        "Admit nobody in an iteration that preempts, and leave a block for each who runs: else newcomers are "
        "thrown out "
        "at once.",
        "有抢占的那次迭代不要放人进来，还要给每个正在运行的请求留一块：否则新来的马上又被赶出去。",
    ),
    "11.legal hint 1": Text(
        "Begin with cbviz.Plan(admit=view.fitting()), and change one thing at a time.",
        "从 cbviz.Plan(admit=view.fitting()) 开始，一次只改一处。",
    ),
    "11.legal hint 2": Text(
        "Admit at most view.free_slots requests, and no more than view.free_blocks have room for.",
        "放进来的请求不能超过 view.free_slots 个，所需的块也不能超过 view.free_blocks。",
    ),
}

MINE = """import cbviz

class Mine:
    name = "mine"
    summary = "{summary}"

"""

SHORTEST = (
    MINE.format(summary="whoever may write the least goes first")
    + """    def plan(self, view):
        slots, blocks, admit = view.free_slots, view.free_blocks, []
        for request in sorted(view.waiting, key=lambda request: request.max_new_tokens):
            need = view.blocks_for(request.most)
            if len(admit) == slots or need > blocks:
                break
            admit.append(request.id)
            blocks -= need
        return cbviz.Plan(admit=admit)

answer = Mine()"""
)

PAGED = (
    MINE.format(summary="reserve what is known, and throw the newest out when blocks run out")
    + """    def plan(self, view):
        running, free, preempt = list(view.running), view.free_blocks, {}
        while (need := sum(view.blocks_lacking(r, r.lacks) for r in running)) > free:
            newest = running.pop()
            preempt[newest.id] = "no block is left"
            free += newest.blocks
        free -= need
        admit = []
        for request in view.waiting if not preempt else ():
            need = view.blocks_for(request.known)
            if len(admit) == view.free_slots or need + len(running) + len(admit) > free:
                break  # one block is left for each who runs
            admit.append(cbviz.Admit(request.id, reserve=request.known))
            free -= need
        return cbviz.Plan(admit=admit, preempt=preempt)

answer = Mine()"""
)


def _played(answer: Any) -> Result:
    """Let it play; raise Mistake for what is no policy and for whatever the engine stops."""
    if isinstance(answer, type) or not isinstance(answer, Policy) or not callable(answer.plan):
        raise Mistake("11.no policy", given=shown(answer))
    try:
        return play(answer)
    except PolicyError as error:
        raise Mistake("11.stopped", error=str(error)[:320]) from error


def judge_legal(answer: Any) -> tuple[str, dict[str, Any]]:
    """Any policy whose every plan is legal, and that serves everybody."""
    result = _played(answer)
    return "11.legal right", {"iterations": result.iterations, "base": yardstick().iterations}


def judge_sooner(answer: Any) -> tuple[str, dict[str, Any]]:
    """The mean iteration in which a request is done must fall to 75 % of continuous batching's."""
    result, base = _played(answer), yardstick()
    told = {"mean": result.mean, "base": base.mean, "goal": SOONER * base.mean}
    if result.mean <= SOONER * base.mean:
        more = {"score": 100 * base.mean / result.mean, "worst": result.worst, "base_worst": base.worst}
        return "11.sooner right", {**told, **more}
    raise Mistake(f"11.sooner {_compared(result.mean, base.mean)}", **told)


def judge_fewer(answer: Any) -> tuple[str, dict[str, Any]]:
    """Iterations must fall to 80 % of continuous batching's."""
    result, base = _played(answer), yardstick()
    told = {"iterations": result.iterations, "base": base.iterations, "goal": FEWER * base.iterations}
    if result.iterations <= FEWER * base.iterations:
        score = 100 * base.iterations / result.iterations
        return "11.fewer right", {**told, "score": score, "preemptions": result.preemptions}
    raise Mistake(f"11.fewer {_compared(result.iterations, base.iterations)}", **told)


def _compared(value: float, base: float) -> str:
    return "same" if value == base else "worse" if value > base else "near"


EXERCISES = (
    Exercise(
        "11.legal",
        judge_legal,
        "11.legal right",
        ("11.legal hint 1", "11.legal hint 2"),
        MINE.format(summary="the next in the queue, as many as fit")
        + """    def plan(self, view):
        return cbviz.Plan(admit=view.fitting())

answer = Mine()""",
    ),
    Exercise("11.sooner", judge_sooner, "11.sooner right", ("11.sooner hint 1", "11.sooner hint 2"), SHORTEST),
    Exercise(
        "11.fewer",
        judge_fewer,
        "11.fewer right",
        ("11.fewer hint 1", "11.fewer hint 2", "11.fewer hint 3"),
        PAGED,
    ),
)

"""Exercises of notebook 06, prefill gets in the way."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, choice, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "06.ratio right": Text(
        "⌊10 × 1.2⌋ = 12 must wait, and 7 do. Unless 15 more decodes pass first: then one would be enough.",
        "要有 ⌊10 × 1.2⌋ = 12 个在等，现在有 7 个。除非先过去了 15 次解码：那时一个就够了。",
    ),
    "06.ratio all": Text(
        "{given} is how many must wait; seven of them are there already.",
        "{given} 是总共要等多少个；其中七个已经到了。",
    ),
    "06.ratio slots": Text(
        "{given} compares waiting with running one to one; the ratio is 1.2.",
        "{given} 是按一比一来比的；而比例是 1.2。",
    ),
    "06.ratio now": Text(
        "Seven would be enough for a ratio of 0.7 or less; here the ratio is 1.2.",
        "比例不超过 0.7 的话，七个就够了；而这里是 1.2。",
    ),
    "06.ratio strict": Text(
        "{given} asks for more than ⌊10 × 1.2⌋; as many as that is enough.",
        "{given} 要求超过 ⌊10 × 1.2⌋；其实正好这么多就够了。",
    ),
    "06.ratio decodes": Text(
        "{given} is how many decodes are left until the other limit. Decodes are no requests.",
        "{given} 是离另一个上限还差的解码次数。解码次数可不是请求数。",
    ),
    "06.ratio weight": Text(
        "{given} multiplies those who wait; the ratio is multiplied by those who run.",
        "{given} 是拿等待的去乘了；比例应当乘以正在运行的。",
    ),
    "06.ratio other": Text("{given} is not what the rule says.", "按规则不是 {given}。"),
    "06.ratio hint 1": Text(
        "How many must wait, for each that runs? How many run?",
        "每运行一个，要有几个在等？现在运行着几个？",
    ),
    "06.ratio hint 2": Text("⌊10 × 1.2⌋ must wait, and 7 wait already.", "要有 ⌊10 × 1.2⌋ 个在等，已经有 7 个了。"),
    "06.passes right": Text(
        "Decodes go first; each pass has what they leave, and the last pass may be partly empty.",
        "解码优先，每次前向传播只剩下它们用完之后的份额，最后一次可以不满。",
    ),
    "06.passes no number": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}, which is no whole number.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}，不是整数。",
    ),
    "06.passes alone": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}: that leaves no room for those who decode.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}：没有给正在解码的留出份额。",
    ),
    "06.passes down": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}: that rounds down, and the rest is never read.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}：向下取整的话，剩下的就没人读了。",
    ),
    "06.passes plus": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}: one too many where the division comes out even.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}：正好除尽的时候多算了一次。",
    ),
    "06.passes once": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}: those who decode take a token each in every pass, not "
        "once in all.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}：正在解码的请求每次都各占一个 token，不是总共一次。",
    ),
    "06.passes other": Text(
        "passes({prompt}, {budget}, {decoding}) gives {given}, and the engine takes {right}.",
        "passes({prompt}, {budget}, {decoding}) 返回 {given}，而引擎实际用了 {right} 次。",
    ),
    "06.passes hint 1": Text(
        "How many prompt tokens fit into one pass, beside one token for each that decodes?",
        "除了给每个正在解码的请求一个 token，一次前向传播还放得下几个提示词 token？",
    ),
    "06.passes hint 2": Text(
        "The prompt divided by (budget - decoding), rounded up: -(-a // b).",
        "提示词长度除以 (budget - decoding)，向上取整：-(-a // b)。",
    ),
    "06.cure right": Text(
        "In chunks the document is read beside the decodes: no pass is long, and nobody's text stops.",
        "分块之后，文档在解码的同时一点点读入：没有哪一次前向传播特别长，谁的文字也不会停。",
    ),
    "06.cure ratio": Text(
        "A higher ratio in A makes pauses rarer and longer: the text would stop for longer still.",
        "A 里比例更高，停顿只会更少而更长：文字会停得更久。",
    ),
    "06.cure slots": Text(
        "More slots, as in B, let more in at the same time; each prefill still stops everybody.",
        "像 B 那样增加槽位，可以同时放进来更多请求；但每次预填充还是让所有人停下。",
    ),
    "06.cure memory": Text(
        "Memory, as in C, is not what is lacking: the document is read at once, and that takes its time.",
        "C 的显存并不是瓶颈：文档是一口气读完的，那就得花那么长的时间。",
    ),
    "06.cure hint 1": Text("What is it that everybody is waiting for?", "大家究竟在等什么？"),
    "06.cure hint 2": Text(
        "For one long pass. What would make it several short ones?", "在等一次很长的前向传播。怎样把它变成几次短的？"
    ),
}


def judge_ratio(answer: Any) -> None:
    """Ratio 1.2, ten run, seven wait, five decodes passed of twenty: how many more must come? ⌊12⌋ - 7 = 5."""
    given = whole_number(answer)
    if given == 5:
        return
    known = {12: "all", 3: "slots", 0: "now", 6: "strict", 15: "decodes", 2: "weight", 1: "weight", 8: "weight"}
    raise Mistake(f"06.ratio {known.get(given, 'other')}", given=given)


def judge_passes(answer: Any) -> None:
    """passes(prompt, budget, decoding): how many passes read a prompt beside so many that decode."""
    for prompt, budget, decoding in (
        (639, 64, 20),
        (300, 64, 6),
        (232, 64, 6),
        (100, 512, 40),
        (58, 64, 6),
        (900, 128, 64),
    ):
        asked = {"prompt": prompt, "budget": budget, "decoding": decoding}
        call = f"passes({prompt}, {budget}, {decoding})"
        given = called(answer, prompt, budget, decoding, call=call)
        room = budget - decoding
        right = -(-prompt // room)
        if given == right and not isinstance(given, bool):
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given // 1:
            raise Mistake("06.passes no number", given=shown(given), **asked)
        mistakes = {
            -(-(prompt + decoding) // budget): "once",
            prompt // room + 1: "plus",
            prompt // room: "down",
            -(-prompt // budget): "alone",
            prompt // budget: "alone",
        }
        raise Mistake(f"06.passes {mistakes.get(int(given), 'other')}", given=given, right=right, **asked)


def judge_cure(answer: Any) -> None:
    """What helps where text stops whenever somebody pastes a long document? Chunked prefill: D."""
    given = choice(answer, ("A", "B", "C", "D"))
    if given != "D":
        raise Mistake({"A": "06.cure ratio", "B": "06.cure slots", "C": "06.cure memory"}[given])


EXERCISES = (
    Exercise("06.ratio", judge_ratio, "06.ratio right", ("06.ratio hint 1", "06.ratio hint 2"), "answer = 5"),
    Exercise(
        "06.passes",
        judge_passes,
        "06.passes right",
        ("06.passes hint 1", "06.passes hint 2"),
        """def passes(prompt, budget, decoding):
    return -(-prompt // (budget - decoding))

answer = passes""",
    ),
    Exercise("06.cure", judge_cure, "06.cure right", ("06.cure hint 1", "06.cure hint 2"), 'answer = "D"'),
)

"""Exercises of notebook 01, one token at a time."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "01.spell right": Text(
        "S-a-c-r-a-m-e-n-t-o has 10 letters and 9 hyphens, and END makes 20: one forward pass each.",
        "S-a-c-r-a-m-e-n-t-o 有 10 个字母、9 个连字符，加上 END 共 20 个 token：每个一次前向传播。",
    ),
    "01.spell letters": Text(
        "{given} counts the letters only, but the model writes the hyphens too, one pass for each.",
        "{given} 只数了字母，而连字符也要模型写出来，每个同样需要一次前向传播。",
    ),
    "01.spell letters and end": Text(
        "11 is right for the answer Sacramento, but this answer is S-a-c-r-a-m-e-n-t-o.",
        "如果回答是 Sacramento，11 没有错；可这一次的回答是 S-a-c-r-a-m-e-n-t-o。",
    ),
    "01.spell no end": Text(
        "19 is the text of the answer; one more pass was needed to learn that it is over.",
        "19 是回答的字符数；还需要一次前向传播，模型才会说“写完了”。",
    ),
    "01.spell prefill": Text(
        "21 gives prefill a pass of its own, but the pass that reads the prompt also gives the first token.",
        "21 把预填充单独算成一次，但读入提示词的那次前向传播同时就给出了第一个 token。",
    ),
    "01.spell prompt": Text(
        "{given} seems to count the prompt's tokens as well, but they all go in with the first pass.",
        "{given} 似乎把提示词的 token 也算了进去，但它们在第一次前向传播中就全部读入了。",
    ),
    "01.spell few": Text(
        "{given} is too few: every token of the answer takes a pass.",
        "{given} 太少了：回答里的每个 token 都要一次前向传播。",
    ),
    "01.spell many": Text(
        "{given} is too many: one pass for each token of the answer, END included, and no other.",
        "{given} 太多了：回答的每个 token（含 END）一次，此外没有别的。",
    ),
    "01.spell hint 1": Text("Write the answer down, sign by sign.", "把回答逐个字符写下来。"),
    "01.spell hint 2": Text(
        "tiny writes one sign a token, hyphens included, and END is a token as well.",
        "tiny 的一个 token 就是一个字符，连字符也算；END 同样是一个 token。",
    ),
    "01.fed right": Text(
        "The first pass takes in p tokens, each of the n − 1 others takes in the token before: p + n − 1.",
        "第一次前向传播读入 p 个 token，其余 n − 1 次各读入前一个 token：共 p + n − 1 个。",
    ),
    "01.fed no number": Text(
        "fed({p}, {n}) gives {given}, which is no whole number.", "fed({p}, {n}) 返回的是 {given}，不是整数。"
    ),
    "01.fed last": Text(
        "fed({p}, {n}) gives {given}, one too many: nobody feeds the last token, END, back into the model.",
        "fed({p}, {n}) 返回 {given}，多了一个：最后一个 token（END）不会再送回模型。",
    ),
    "01.fed answer": Text(
        "fed({p}, {n}) gives {given}: that is the answer alone, but the prompt has to go in as well.",
        "fed({p}, {n}) 返回 {given}：这只算了回答，提示词也要送入模型。",
    ),
    "01.fed prompt": Text(
        "fed({p}, {n}) gives {given}: that is the prompt alone, but each token of the answer goes in to get the next.",
        "fed({p}, {n}) 返回 {given}：这只算了提示词，而要得到下一个 token，前一个也必须送入。",
    ),
    "01.fed everything": Text(
        "fed({p}, {n}) gives {given}: that is the count without a cache, where every pass takes in everything again.",
        "fed({p}, {n}) 返回 {given}：这是没有缓存的数目，每一次都把全部内容重新送入。",
    ),
    "01.fed times": Text(
        "fed({p}, {n}) gives {given} = {n} × {p}: but with the cache the prompt goes in once, not in every pass.",
        "fed({p}, {n}) 返回 {given} = {n} × {p}：但有了缓存，提示词只送入一次，而不是每次都送。",
    ),
    "01.fed other": Text(
        "fed({p}, {n}) gives {given}; a prompt of {p} tokens and an answer of {n} make {right}.",
        "fed({p}, {n}) 返回 {given}；提示词 {p} 个 token、回答 {n} 个 token 时应为 {right}。",
    ),
    "01.fed hint 1": Text(
        "Take p = 3 and n = 2, and write down what each of the two passes takes in.",
        "取 p = 3、n = 2，写出两次前向传播各送入了什么。",
    ),
    "01.fed hint 2": Text(
        "The first pass takes in p tokens, every later one a single token. How many later ones are there?",
        "第一次送入 p 个 token，以后每次只送一个。以后还有几次？",
    ),
    "01.loop right": Text(
        "One pass a token, all that is known goes in, and it stops at END or at the limit.",
        "每个 token 一次前向传播，已知内容全部送入，遇到 END 或达到上限就停止。",
    ),
    "01.loop nothing": Text(
        "write returns nothing; it must return the list of the answer's tokens.",
        "write 没有返回值；它应返回回答的 token 列表。",
    ),
    "01.loop no list": Text(
        "write returns {given}; it must return a list of tokens.", "write 返回了 {given}；它应返回一个 token 列表。"
    ),
    "01.loop input": Text(
        "In pass {number} next_token got {given} tokens, where the prompt and the answer so far make {right}: a model "
        "knows only what it is handed.",
        "第 {number} 次前向传播中，next_token 收到 {given} 个 token，而提示词加上已有的回答共 {right} 个："
        "模型只知道送给它的内容。",
    ),
    "01.loop end ignored": Text(
        "It goes on after END: when next_token gives the end token, the answer is over.",
        "遇到 END 之后仍在继续：next_token 给出结束 token 时，回答就结束了。",
    ),
    "01.loop limit ignored": Text(
        "It goes on after {limit} tokens, though the limit is {limit}.", "上限是 {limit} 个 token，它却没有停下。"
    ),
    "01.loop prompt returned": Text(
        "It returns the prompt as well; the answer begins behind it.", "返回值里包含了提示词；回答应从提示词之后开始。"
    ),
    "01.loop end missing": Text(
        "It leaves END out of the answer, but END took a forward pass and counts as a token.",
        "返回的回答里没有 END；但 END 也用了一次前向传播，应算作一个 token。",
    ),
    "01.loop short": Text(
        "It gives {given} tokens where the limit of {limit} allows {right}.",
        "它只给出 {given} 个 token，而上限 {limit} 允许 {right} 个。",
    ),
    "01.loop other": Text("It returns {given}, where {right} came out.", "它返回 {given}，而实际产生的是 {right}。"),
    "01.loop hint 1": Text(
        "Keep one list of everything known. Each round: one call of next_token, then append.",
        "用一个列表保存全部已知的 token。每一轮：调用一次 next_token，再追加到列表末尾。",
    ),
    "01.loop hint 2": Text(
        "There are two ways out: the token is end, or the answer has limit tokens. Append first, then ask.",
        "有两个出口：token 等于 end，或者回答已有 limit 个 token。先追加，再判断。",
    ),
}


def judge_spell(answer: Any) -> None:
    """How many forward passes does "Spell Sacramento" take? 10 letters, 9 hyphens, END."""
    given = whole_number(answer)
    known = {10: "letters", 11: "letters and end", 19: "no end", 21: "prefill", 36: "prompt", 37: "prompt"}
    if given == 20:
        return
    raise Mistake(f"01.spell {known.get(given, 'few' if given < 20 else 'many')}", given=given)


def judge_fed(answer: Any) -> None:
    """fed(p, n): tokens that go into the model for a prompt of p and an answer of n tokens, with a KV cache."""
    for p, n in ((35, 11), (3, 2), (7, 1), (128, 40)):
        given = called(answer, p, n, call=f"fed({p}, {n})")
        right = p + n - 1
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise Mistake("01.fed no number", p=p, n=n, given=shown(given))
        mistakes = {p + n: "last", n: "answer", p: "prompt", n * p + n * (n - 1) // 2: "everything", n * p: "times"}
        if given != right:
            raise Mistake(f"01.fed {mistakes.get(int(given), 'other')}", p=p, n=n, given=given, right=right)


def judge_loop(answer: Any) -> None:
    """write(next_token, prompt, limit, end): the loop of generation, tried on a scripted model."""
    end = 0
    for prompt, script, limit in (([5, 6, 7], [8, 9, 3, end], 10), ([4], [8, 7, 6, 5, end], 3), ([4, 4], [end], 5)):
        _judge_one_answer(answer, prompt, script, limit, end)


def _judge_one_answer(write: Any, prompt: list[int], script: list[int], limit: int, end: int) -> None:
    right = script[:limit]
    passes = 0

    def next_token(tokens: Any) -> int:
        nonlocal passes
        passes += 1
        if passes > len(right):
            if right[-1] == end:
                raise Mistake("01.loop end ignored")
            raise Mistake("01.loop limit ignored", limit=limit)
        known = [*prompt, *script[: passes - 1]]
        if list(tokens) != known:
            raise Mistake("01.loop input", number=passes, given=len(list(tokens)), right=len(known))
        return script[passes - 1]

    given = called(write, next_token, list(prompt), limit, end, call=f"write(next_token, {prompt}, {limit}, {end})")
    if given is None:
        raise Mistake("01.loop nothing")
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise Mistake("01.loop no list", given=shown(given))
    given = list(given)
    if given == right:
        return
    if given == [*prompt, *right]:
        raise Mistake("01.loop prompt returned")
    if given == right[:-1] and right[-1] == end:
        raise Mistake("01.loop end missing")
    if given == right[: len(given)]:
        raise Mistake("01.loop short", given=len(given), limit=limit, right=len(right))
    raise Mistake("01.loop other", given=given, right=right)


EXERCISES = (
    Exercise("01.spell", judge_spell, "01.spell right", ("01.spell hint 1", "01.spell hint 2"), "answer = 20"),
    Exercise(
        "01.fed",
        judge_fed,
        "01.fed right",
        ("01.fed hint 1", "01.fed hint 2"),
        "def fed(p, n):\n    return p + n - 1\n\nanswer = fed",
    ),
    Exercise(
        "01.loop",
        judge_loop,
        "01.loop right",
        ("01.loop hint 1", "01.loop hint 2"),
        """def write(next_token, prompt, limit, end):
    known = list(prompt)
    while True:
        known.append(next_token(known))
        if known[-1] == end or len(known) == len(prompt) + limit:
            return known[len(prompt):]

answer = write""",
    ),
)

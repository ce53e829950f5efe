"""Exercises of notebook 03, what fits."""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.course.exercise import Exercise, Mistake, called, choice, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "03.fits right": Text(
        "24 − 16 = 8 GB are left, 61,035 tokens at 128 KiB; fourteen times 4,096 fit, the fifteenth does not.",
        "剩下 24 − 16 = 8 GB，每个 token 128 KiB，可放 61,035 个；4,096 的 14 倍放得下，第十五个放不下。",
    ),
    "03.fits weights": Text(
        "{given} forgets the weights: they take 16 GB of the card before the first request comes.",
        "{given} 忘了权重：第一个请求还没来，它们已经占去 16 GB。",
    ),
    "03.fits rounded": Text(
        "{given} rounds up, but a sequence that fits nearly does not fit.",
        "{given} 是四舍五入的结果；差一点放得下，就是放不下。",
    ),
    "03.fits tokens": Text(
        "{given} looks like a number of tokens; the question asks for whole sequences of 4,096.",
        "{given} 像是 token 数；题目问的是能放几个 4,096 token 的完整序列。",
    ),
    "03.fits keys": Text(
        "{given} seems to halve the 128 KiB, but that number holds keys and values together already.",
        "{given} 似乎把 128 KiB 又除以二了；这个数已经包括键和值。",
    ),
    "03.fits few": Text(
        "{given} is too few: more sequences fit into what the weights leave.",
        "{given} 太少了：权重之外的显存还放得下更多。",
    ),
    "03.fits many": Text("{given} is too many for what the weights leave.", "{given} 太多了：权重之外的显存放不下。"),
    "03.fits hint 1": Text("What is left of the card after the weights, in bytes?", "放下权重之后，显存还剩多少字节？"),
    "03.fits hint 2": Text(
        "Divide it by 128 × 1,024 bytes for tokens, then by 4,096 for sequences, and cut off the fraction.",
        "除以 128 × 1,024 得 token 数，再除以 4,096 得序列数，舍去小数。",
    ),
    "03.kv right": Text(
        "Keys and values, in every layer, for every KV head: nothing else.",
        "每一层、每个 KV 头，各有键和值：没有别的了。",
    ),
    "03.kv no number": Text(
        "kv_bytes{arguments} gives {given}, which is no number.", "kv_bytes{arguments} 返回的是 {given}，不是数。"
    ),
    "03.kv half": Text(
        "kv_bytes{arguments} gives {given}, half of what it takes: there are keys and values.",
        "kv_bytes{arguments} 返回 {given}，只有一半：键和值各要一份。",
    ),
    "03.kv one layer": Text(
        "kv_bytes{arguments} gives {given}: that is one layer, and every layer has keys and values of its own.",
        "kv_bytes{arguments} 返回 {given}：这只是一层，而每一层都有自己的键和值。",
    ),
    "03.kv one head": Text(
        "kv_bytes{arguments} gives {given}: that is a single head; there are {heads}.",
        "kv_bytes{arguments} 返回 {given}：这只是一个头，而头有 {heads} 个。",
    ),
    "03.kv values": Text(
        "kv_bytes{arguments} gives {given}: that counts numbers; each of them takes {size} bytes.",
        "kv_bytes{arguments} 返回 {given}：这是数的个数，每个数占 {size} 字节。",
    ),
    "03.kv two bytes": Text(
        "kv_bytes{arguments} gives {given}: that assumes two bytes a number, whatever it was told.",
        "kv_bytes{arguments} 返回 {given}：不管参数是什么，都按每个数两字节算了。",
    ),
    "03.kv other": Text(
        "kv_bytes{arguments} gives {given}, and the engine's cache takes {right}.",
        "kv_bytes{arguments} 返回 {given}，而引擎的缓存实际占 {right}。",
    ),
    "03.kv hint 1": Text(
        "One token, one layer, one head: a key of head_size numbers, and a value of as many.",
        "一个 token、一层、一个头：一个键有 head_size 个数，一个值也是。",
    ),
    "03.kv hint 2": Text(
        "2 × layers × kv_heads × head_size numbers; and each takes how many bytes?",
        "共 2 × layers × kv_heads × head_size 个数；每个数几字节？",
    ),
    "03.int8 right": Text(
        "The weights shrink, the space they leave grows, and each token takes what it took before.",
        "变小的是权重，腾出了地方；每个 token 占的和原来一样。",
    ),
    "03.int8 kv": Text(
        "A is another thing: the cache holds keys and values, not weights, and stays in 16 bits.",
        "A 是另一回事：缓存里是键和值，不是权重；不对缓存单独量化，它仍是 16 位。",
    ),
    "03.int8 nothing": Text(
        "C forgets what the weights give back: 13 GB in this notebook's example.",
        "C 忘了权重腾出来的地方：在本节的例子里是 13 GB。",
    ),
    "03.int8 longer": Text(
        "D: how long a sequence may be is decided by the model's positions, not by the bits of its weights.",
        "D 不对：序列最长多少由模型的位置数决定，与权重的位数无关。",
    ),
    "03.int8 hint 1": Text("Which of the two rows of the memory table changes?", "显存那张表里，变的是哪一行？"),
    "03.int8 hint 2": Text("Compare the column of bytes a token in both rows.", "比较两行里“每 token 字节数”那一列。"),
}


def judge_fits(answer: Any) -> None:
    """24 GB, weights 16 GB, 128 KiB a token: how many sequences of 4,096 tokens fit? 14."""
    given = whole_number(answer)
    known = {44: "weights", 45: "weights", 15: "rounded", 29: "keys", 30: "keys"}
    if given == 14:
        return
    if given >= 1000:
        raise Mistake("03.fits tokens", given=f"{given:,}")
    raise Mistake(f"03.fits {known.get(given, 'few' if given < 14 else 'many')}", given=given)


def judge_kv(answer: Any) -> None:
    """kv_bytes(layers, kv_heads, head_size, bytes_per_number)."""
    for layers, heads, size, each in ((32, 6, 128, 8), (40, 40, 128, 2), (5, 3, 7, 1)):
        arguments = f"({layers}, {heads}, {size}, {each})"
        given = called(answer, layers, heads, size, each, call=f"kv_bytes{arguments}")
        right = 2 * layers * heads * size * each
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise Mistake("03.kv no number", arguments=arguments, given=shown(given))
        if given == right:
            continue
        mistakes = {
            2 * layers * heads * size: "values",
            2 * layers * heads * size * 2: "two bytes",
            2 * heads * size * each: "one layer",
            2 * layers * size * each: "one head",
            right / 2: "half",
        }
        key = mistakes.get(given, "other")
        raise Mistake(f"03.kv {key}", arguments=arguments, given=given, right=right, heads=heads, size=each)


def judge_int8(answer: Any) -> None:
    """What do int8 weights change? B: more tokens fit, each as large as before."""
    given = choice(answer, ("A", "B", "C", "D"))
    if given != "B":
        raise Mistake({"A": "03.int8 kv", "C": "03.int8 nothing", "D": "03.int8 longer"}[given])


EXERCISES = (
    Exercise(
        "03.fits",
        judge_fits,
        "03.fits right",
        ("03.fits hint 1", "03.fits hint 2"),
        "answer = int((24e9 - 16e9) // (128 * 1024 * 4096))",
    ),
    Exercise(
        "03.kv",
        judge_kv,
        "03.kv right",
        ("03.kv hint 1", "03.kv hint 2"),
        """def kv_bytes(layers, kv_heads, head_size, bytes_per_number):
    return 2 * layers * kv_heads * head_size * bytes_per_number

answer = kv_bytes""",
    ),
    Exercise("03.int8", judge_int8, "03.int8 right", ("03.int8 hint 1", "03.int8 hint 2"), 'answer = "B"'),
)

"""Exercises of notebook 02, why decode is slow."""

from __future__ import annotations

from typing import Any

from cbviz.course.exercise import Exercise, Mistake, number, whole_number
from cbviz.course.words import Text

WORDS: dict[str, Text] = {
    "02.floor right": Text(
        "26 GB at 1.5 TB/s take 17.3 ms, whatever the arithmetic: no more than 58 tokens a second for one request.",
        "26 GB 以 1.5 TB/s 读一遍要 17.3 毫秒，与计算能力无关：一个请求每秒最多 58 个 token。",
    ),
    "02.floor seconds": Text(
        "{given} is in seconds; the question asks for milliseconds.", "{given} 的单位是秒；题目要的是毫秒。"
    ),
    "02.floor rate": Text(
        "{given} is a number of tokens a second; turn it round to get the time of one.",
        "{given} 是每秒的 token 数；倒过来才是一个 token 的时间。",
    ),
    "02.floor one byte": Text(
        "{given} takes each weight for one byte; in 16 bits it is two.",
        "{given} 把每个权重当成一字节了；16 位是两字节。",
    ),
    "02.floor four bytes": Text(
        "{given} takes each weight for four bytes; in 16 bits it is two.",
        "{given} 把每个权重当成四字节了；16 位是两字节。",
    ),
    "02.floor thousand": Text(
        "{given} is a thousand times too many: 26 GB are 26 × 10⁹ bytes, 1.5 TB/s are 1.5 × 10¹².",
        "{given} 大了一千倍：26 GB 是 26 × 10⁹ 字节，1.5 TB/s 是每秒 1.5 × 10¹² 字节。",
    ),
    "02.floor other": Text(
        "{given} is not the time to read 26 GB at 1.5 TB/s.", "以 1.5 TB/s 读 26 GB，用时不是 {given}。"
    ),
    "02.floor hint 1": Text("How many bytes must every pass read at least?", "每次前向传播至少要读多少字节？"),
    "02.floor hint 2": Text(
        "13e9 weights × 2 bytes, divided by 1.5e12 bytes a second; then × 1,000.",
        "13e9 个权重 × 2 字节，除以每秒 1.5e12 字节；再乘 1,000。",
    ),
    "02.reads right": Text(
        "Ten batches, one after the other, of fifty passes each: 500 passes, and each reads all weights once.",
        "十批依次进行，每批五十次前向传播：共 500 次，每次把权重读一遍。",
    ),
    "02.reads token": Text(
        "5,000 is one pass a token, but a pass gives a token to all ten requests of its batch.",
        "5,000 是每个 token 一次；可一次前向传播给本批的十个请求各写一个 token。",
    ),
    "02.reads request": Text(
        "100 reads the weights once a request, but every pass needs all of them again.",
        "100 是每个请求读一次；可每次前向传播都要重新读全部权重。",
    ),
    "02.reads once": Text(
        "Once would need a place to keep them: caches beside the compute units hold megabytes, not gigabytes.",
        "只读一次的话，得有地方存：计算单元旁边的缓存只有几十兆字节，不是几十吉字节。",
    ),
    "02.reads together": Text(
        "50 puts all hundred requests into one batch; only ten run at once.",
        "50 是把一百个请求放进一批；可一次只能运行十个。",
    ),
    "02.reads batch": Text(
        "10 reads them once a batch, but a batch makes fifty passes.", "10 是每批读一次；可一批要做五十次前向传播。"
    ),
    "02.reads other": Text("{given} is not the number of forward passes.", "前向传播的次数不是 {given}。"),
    "02.reads hint 1": Text(
        "All weights are read once a forward pass. Count the passes.", "每次前向传播读一遍全部权重。数一数前向传播。"
    ),
    "02.reads hint 2": Text(
        "How many passes does one batch of ten make, if each answer has 50 tokens? How many batches are there?",
        "每个回答 50 个 token，十个一批，一批要多少次前向传播？一共几批？",
    ),
    "02.knee right": Text(
        "At about 267 rows computing takes as long as reading: below, more are nearly free; above, each one costs.",
        "大约 267 行时，计算和读取用时相同：在此之下，多几行几乎不要钱；超过之后，每一行都要付出代价。",
    ),
    "02.knee two": Text(
        "{given} counts one operation a weight, but each takes part in a multiplication and an addition.",
        "{given} 按每个权重一次运算算；其实每个权重要做一次乘法、一次加法。",
    ),
    "02.knee bytes": Text(
        "{given} counts one byte a weight, but in 16 bits it is two.", "{given} 按每个权重一字节算；16 位是两字节。"
    ),
    "02.knee inverse": Text(
        "{given} is upside down: divide operations a second by bytes a second.",
        "{given} 颠倒了：应该用每秒运算数除以每秒字节数。",
    ),
    "02.knee other": Text(
        "At {given} rows reading and computing do not take equally long.", "{given} 行时，读取和计算用时并不相等。"
    ),
    "02.knee hint 1": Text(
        "Reading takes 2 × weights / bandwidth, computing takes 2 × weights × rows / rate. When are they equal?",
        "读取用时 2 × 权重数 / 带宽，计算用时 2 × 权重数 × 行数 / 算力。何时相等？",
    ),
    "02.knee hint 2": Text(
        "The weights cancel out. What is left is 800e12 / 3e12.", "权重数可以约去，剩下 800e12 / 3e12。"
    ),
}


def judge_floor(answer: Any) -> None:
    """13B weights in 16 bits at 1.5 TB/s: the least milliseconds of a pass, 17.3."""
    given = number(answer)
    mistakes = {
        0.0173: "seconds",
        57.7: "rate",
        8.67: "one byte",
        34.7: "four bytes",
        17333.0: "thousand",
    }
    if abs(given / 17.333 - 1) < 0.03:
        return
    for value, key in mistakes.items():
        if abs(given / value - 1) < 0.03:
            raise Mistake(f"02.floor {key}", given=f"{given:g}")
    raise Mistake("02.floor other", given=f"{given:g}")


def judge_reads(answer: Any) -> None:
    """100 answers of 50 tokens, ten at a time: how often are the weights read? 500 times."""
    given = whole_number(answer)
    known = {5000: "token", 100: "request", 1: "once", 50: "together", 10: "batch"}
    if given != 500:
        raise Mistake(f"02.reads {known.get(given, 'other')}", given=given)


def judge_knee(answer: Any) -> None:
    """800 TFLOP/s, 3 TB/s, 16-bit weights: at how many rows does computing take as long as reading? 267."""
    given = number(answer)
    if abs(given / 266.7 - 1) < 0.03:
        return
    for value, key in {533.3: "two", 133.3: "bytes", 0.00375: "inverse"}.items():
        if abs(given / value - 1) < 0.03:
            raise Mistake(f"02.knee {key}", given=f"{given:g}")
    raise Mistake("02.knee other", given=f"{given:g}")


EXERCISES = (
    Exercise(
        "02.floor",
        judge_floor,
        "02.floor right",
        ("02.floor hint 1", "02.floor hint 2"),
        "answer = 13e9 * 2 / 1.5e12 * 1000",
    ),
    Exercise(
        "02.reads",
        judge_reads,
        "02.reads right",
        ("02.reads hint 1", "02.reads hint 2"),
        "answer = (100 // 10) * 50",
    ),
    Exercise(
        "02.knee",
        judge_knee,
        "02.knee right",
        ("02.knee hint 1", "02.knee hint 2"),
        "answer = 800e12 / 3e12",
    ),
)

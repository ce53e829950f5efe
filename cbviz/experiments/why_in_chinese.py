"""What `why` says, in Chinese: its own sentences, and the reasons of the policies that come with cbviz.

Whole sentences only. What somebody's own policy says stays as it was written.
"""

from __future__ import annotations

import re

_SAID: list[tuple[str, str]] = [
    # what becomes of a request
    (r"let in", "接纳"),
    (r"waits", "等待"),
    (r"decodes", "解码"),
    (r"stalls", "停顿"),
    (r"thrown out", "被抢占"),
    (r"held", "占着槽位"),
    (r"gone", "已离开"),
    (r"not there yet", "尚未到来"),
    (r"takes in a chunk", "处理一个分块"),
    (r"takes in all that it lacks", "处理它缺少的全部 token"),
    (r"(?P<a>\d+) of the (?P<b>\d+) tokens that it lacks", "所缺 {b} 个 token 中的 {a} 个"),
    (r"(?P<a>\d+) tokens", "{a} 个 token"),
    (r"slot (?P<a>\d+)", "槽位 {a}"),
    (
        r"(?P<a>\d+) running, (?P<b>\d+) waiting; (?P<c>\d+) of (?P<d>\d+) slots and (?P<e>\d+) of (?P<f>\d+) KV "
        r"blocks free",
        "{a} 个在运行，{b} 个在等待；{d} 个槽位空闲 {c} 个，{f} 个 KV 块空闲 {e} 个",
    ),
    (r"its output has ended, and its batch keeps it in the slot to the end", "输出已结束，但整批结束前它一直占着槽位"),
    (r"its output has ended, and it leaves its slot before this iteration", "输出已结束，在本次迭代之前离开槽位"),
    (r"its END was still on its way from the device when this was planned", "作计划时，它的 END 还在从设备传回的途中"),
    (r"it was cancelled before iteration (?P<a>\d+)", "在第 {a} 次迭代之前被取消"),
    (r"it ended in iteration (?P<a>\d+)", "在第 {a} 次迭代中结束"),
    (r"it comes before iteration (?P<a>\d+)", "在第 {a} 次迭代之前到来"),
    (r"it never came while the run lasted", "运行期间它始终没有到来"),
    (r"behind request (?P<a>\d+), which is put off: (?P<B>.+)", "排在请求 {a} 之后，而后者被推迟：{B}"),
    (r"behind request (?P<a>\d+)", "排在请求 {a} 之后"),
    (r"the last free slot went to request (?P<a>\d+)", "最后一个空槽位给了请求 {a}"),
    (r"no slot is free", "没有空槽位"),
    (r"the policy gave no reason", "策略没有说明理由"),
    (r"asked again, it would let it in if more KV blocks were free", "再问一次：如果空闲的 KV 块更多，就会接纳"),
    (r"asked again, it would let it in if it stood first", "再问一次：如果它排在最前，就会接纳"),
    (
        r"asked again, it would let it in if it stood first and more KV blocks were free",
        "再问一次：如果它排在最前且空闲的 KV 块更多，就会接纳",
    ),
    (r"asked again, it would let it in if nothing else were running", "再问一次：如果没有别的请求在运行，就会接纳"),
    (
        r"asked again, it would let it in if it stood first and nothing else were running",
        "再问一次：如果它排在最前且没有别的请求在运行，就会接纳",
    ),
    (
        r"asked again, it would not let it in with more KV blocks, at the head of the queue, or into an empty engine "
        r"either",
        "再问一次：即使 KV 块更多、排在队首或引擎为空，也不会接纳",
    ),
    (r"asked again, it was not done with its plan after (?P<a>\S+) seconds", "再问一次：{a} 秒后它仍没有作完计划"),
    # what policies say
    (r"it needs (?P<a>\d+) KV blocks for its (?P<B>.+), and (?P<C>\d+ are free.*)", "它的{B}需要 {a} 个 KV 块，而{C}"),
    (r"prompt \+ max_new_tokens", "提示词 + max_new_tokens "),
    (r"reservation", "预留"),
    (r"(?P<a>\d+) are free", "空闲 {a} 个"),
    (r"(?P<a>\d+) are free, of which (?P<b>\d+) stay free", "空闲 {a} 个，其中 {b} 个要留空"),
    (r"one request at a time", "一次只处理一个请求"),
    (
        r"a batch is running, and nobody enters it before its longest request has ended",
        "一批正在运行，其中最长的请求结束之前谁也不能进入",
    ),
    (
        r"a batch is running, and nobody enters it before it has run (?P<a>\d+) iterations",
        "一批正在运行，运行满 {a} 次迭代之前谁也不能进入",
    ),
    (
        r"(?P<a>\d+) of (?P<b>\d+) wait, and the oldest has waited (?P<c>\S+) of (?P<d>\S+)",
        "{b} 个中有 {a} 个在等待，最早的已等待 {c}（上限 {d}）",
    ),
    (r"the batch has its (?P<a>\d+) requests", "这一批的 {a} 个请求已经齐了"),
    (r"nothing running", "没有请求在运行"),
    (r"ratio met", "达到比例"),
    (r"waited too long", "等待太久"),
    (
        r"a prefill has just paused the others; this iteration decodes all of them",
        "刚有一次预填充暂停了其他请求，本次迭代让它们全部解码",
    ),
    (r"(?P<a>\d+) wait, and (?P<B>a prefill that .+)", "{a} 个在等待，而{B}"),
    (
        r"only (?P<a>\d+) of the (?P<b>\d+) that wait fit in now, and (?P<C>a prefill that .+)",
        "等待的 {b} 个中现在只放得下 {a} 个，而{C}",
    ),
    (
        r"a prefill that pauses (?P<a>\d+) takes (?P<b>⌊.+⌋ = \d+), or decodes since the last one to reach (?P<c>\d+) "
        r"\(now (?P<d>\d+)\)",
        "暂停 {a} 个请求的预填充需要 {b} 个，或自上次以来的解码达到 {c} 次（现在 {d} 次）",
    ),
    (r"with it a prefill would take (?P<a>\d+) tokens of (?P<b>\d+)", "加上它，预填充将需要 {a} 个 token，上限是 {b}"),
    (
        r"with it newcomers may come to hold (?P<a>\d+) tokens, and (?P<b>\d+) are left of (?P<c>\d+)",
        "加上它，新来的请求最多会占用 {a} 个 token，而 {c} 个中只剩 {b} 个",
    ),
    (
        r"its (?P<a>\d+) tokens exceed the (?P<b>\d+) that are left of the (?P<c>\d+) of one prefill",
        "它的 {a} 个 token 超过一次预填充 {c} 个中剩下的 {b} 个",
    ),
    (
        r"somebody is swapped out, and nobody else enters before they are back",
        "有请求被换出，它们回来之前谁也不能进入",
    ),
    (
        r"somebody was preempted, and nobody enters(?: in such an iteration| then)",
        "有请求被抢占，这样的迭代中谁也不能进入",
    ),
    (r"the budget of (?P<a>\d+) tokens is spent", "{a} 个 token 的预算已用完"),
    (r"budget spent(?: on decodes)?", "预算已用完"),
    (r"prefill goes first", "预填充优先"),
    (r"no block is free", "没有空闲块"),
    (r"request (?P<a>\d+) needs its blocks", "请求 {a} 需要它的块"),
    (r"the executor failed", "执行器失败"),
]
_PATTERNS = [(re.compile(english), chinese) for english, chinese in _SAID]


def in_chinese(told: str) -> str:
    """A sentence of `why` in Chinese, part by part where no whole is known; what is not known stays as it is."""
    for pattern, chinese in _PATTERNS:
        if found := pattern.fullmatch(told):
            blanks = {name: in_chinese(text) if name.isupper() else text for name, text in found.groupdict().items()}
            return chinese.format(**blanks)
    for mark, chinese_mark in (("; ", "；"), (": ", "：")):
        first, mark_found, rest = told.partition(mark)
        if mark_found and (parts := (in_chinese(first), in_chinese(rest))) != (first, rest):
            return chinese_mark.join(parts)
    return told

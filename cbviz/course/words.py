"""Every word that the course shows, in English and in Chinese: one table, and the way to look things up in it.

`table()` joins the words of this file with those that each lesson keeps beside its exercises.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from cbviz.board.language import speak, spoken
from cbviz.checks import shown
from cbviz.errors import CbvizError


class Text(NamedTuple):
    """The same words in both languages. `{names}` in braces are filled in by `say`."""

    en: str
    zh: str


COMMON: dict[str, Text] = {
    "guess": Text("Your guess:", "你的预测："),
    "no guess yet": Text("no guess yet ({first} to {last})", "尚未预测（{first} 到 {last}）"),
    "no choice yet": Text("no guess yet ({choices})", "尚未预测（{choices}）"),
    "guessed": Text("your guess: {guess}", "你的预测：{guess}"),
    "result": Text("the run says: {result}", "运行结果：{result}"),
    "result without guess": Text(
        "the run says: {result} (you made no guess: move the slider above, then run this cell again)",
        "运行结果：{result}（你还没有预测：拖动上面的滑块，再重新运行本单元格）",
    ),
    "choice without guess": Text(
        "the run says: {result} (you made no guess: press a button above, then run this cell again)",
        "运行结果：{result}（你还没有预测：点选上面的按钮，再重新运行本单元格）",
    ),
    "guess beside result": Text(
        "you guessed {guess}, the run says {result}: off by a factor of {factor}",
        "你预测 {guess}，运行结果是 {result}：相差 {factor} 倍",
    ),
    "guess far from result": Text("you guessed {guess}, the run says {result}", "你预测 {guess}，运行结果是 {result}"),
    "guess met": Text(
        "you guessed {guess}, the run says {result}: well guessed", "你预测 {guess}，运行结果是 {result}：猜得准"
    ),
    "not answered": Text(
        "Exercise {name}: not answered yet. Put your answer in place of the three dots and run the cell again.",
        "练习 {name}：尚未作答。请把三个点换成你的答案，再运行一次本单元格。",
    ),
    "right": Text("Right.", "正确。"),
    "wrong": Text("Not yet.", "还不对。"),
    "hint": Text("Hint {number} of {all}:", "提示 {number}/{all}："),
    "look up": Text(
        "That was the last hint. course.solution({name!r}) shows a solution.",
        "提示到此为止。course.solution({name!r}) 会给出参考答案。",
    ),
    "solution": Text("A solution of exercise {name}", "练习 {name} 的参考答案"),
    "done": Text("right", "正确"),
    "tried": Text("not yet", "还不对"),
    "open": Text("not answered", "未作答"),
    "needs whole number": Text(
        "The answer is a whole number, such as 7; this is {given}.", "答案应是一个整数，例如 7；而这里是 {given}。"
    ),
    "needs number": Text(
        "The answer is a number, such as 2.5; this is {given}.", "答案应是一个数，例如 2.5；而这里是 {given}。"
    ),
    "needs choice": Text(
        "The answer is one of {choices}; this is {given}.", "答案应是 {choices} 之一；而这里是 {given}。"
    ),
    "needs function": Text(
        "The answer is a function: hand over its name without brackets; this is {given}.",
        "答案应是一个函数：只写函数名，不要加括号；而这里是 {given}。",
    ),
    "function raised": Text(
        "Your function stops with {error} when it is called as {call}.", "以 {call} 调用时，你的函数因 {error} 而中断。"
    ),
    "cannot judge": Text(
        "Your answer is of a kind that cannot be compared with the right one ({error}); return plain numbers, texts or "
        "lists, as the task asks.",
        "你的答案属于无法与正确答案比较的类型（{error}）；请按题目要求返回普通的数、文本或列表。",
    ),
    "too slow": Text(
        "It ran for more than {seconds} seconds and was stopped: does a loop of yours never end?",
        "运行超过 {seconds} 秒，已被中止：是不是有一个循环永远不会结束？",
    ),
    "prompt": Text("prompt", "提示词"),
    "answer": Text("answer", "回答"),
    "tokens": Text("tokens", "token"),
}
"""What any notebook may show."""

TERMS: dict[str, str] = {
    "iteration": "迭代",
    "iterations": "迭代数",
    "forward pass": "前向传播",
    "forward passes": "前向传播次数",
    "policy": "策略",
    "slots": "槽位数",
    "slot": "槽位",
    "occupancy": "槽位占用率",
    "request": "请求",
    "requests": "请求数",
    "question": "问题",
    "prompt": "提示词",
    "prompt tokens": "提示词 token 数",
    "answer": "回答",
    "answers": "回答",
    "token": "token",
    "tokens": "token 数",
    "tokens in": "输入 token 数",
    "token out": "输出 token",
    "merge": "第几次合并",
    "the word now": "合并之后",
    "limit": "上限",
    "same before": "之前相同",
    "same at the letter": "该处相同",
    "same behind": "之后相同",
    "same numbers": "数值相同",
    "positions with keys and values": "有键和值的位置数",
    "output tokens": "输出 token 数",
    "why it ended": "结束原因",
    "prefill": "预填充",
    "decode": "解码",
    "held": "空算",
    "stalled": "停顿",
    "idle": "空闲",
    "recompute": "重计算",
    "wasted": "浪费",
    "useful": "有用",
    "static": "静态",
    "continuous": "连续",
    "seconds": "秒",
    "milliseconds": "毫秒",
    "ratio": "比值",
    "speed-up": "加速比",
    "measured": "实测",
    "theory": "理论",
    "by hand": "手算",
    "same answers": "回答相同",
    "yes": "是",
    "no": "否",
    "letters": "字母数",
    "pair": "词对",
    "how often": "出现次数",
    "position": "位置",
    "positions": "位置数",
    "layer": "层",
    "without cache": "无缓存",
    "with cache": "有缓存",
    "total": "合计",
    "slot-iterations": "槽位迭代数",
    "rows computed": "计算的行数",
    "tokens for somebody": "有用的 token 数",
    "batch": "批次",
    "lengths": "长度",
    "longest": "最长",
    "mean": "平均",
    "value": "数值",
    "by run": "实测",
    "by formula, these lengths": "公式（这些长度）",
    "by formula, exponential": "公式（指数分布）",
    "workload": "工作负载",
    "needed": "真正需要",
    "equal answers": "回答等长",
    "A: twice as long": "A：长一倍",
    "B: prompts differ": "B：提示词参差",
    "C: answers differ": "C：回答参差",
    "C, twice as long": "C，再长一倍",
    "every iteration": "每次迭代",
    "after": "接替",
    "freed in iteration": "空出于迭代",
    "refilled in iteration": "补上于迭代",
    "at least": "下界",
    "at most": "上界",
    "same in both lanes": "两条泳道相同",
    "compared alone": "单独比较",
    "same alone": "单独也相同",
    "shape of the input": "输入的形状",
    "longest wait for a slot": "最长等待（迭代）",
    "same schedule as continuous": "与连续批处理逐步相同",
    "case": "情形",
    "lengths differ, many wait": "长短不一，许多在等",
    "equal lengths, many wait": "长度相等，许多在等",
    "lengths differ, nobody waits": "长短不一，无人在等",
    "one slot": "只有一个槽位",
    "prompt tokens computed": "计算的提示词 token 数",
    "prefill in the first iteration": "第一次迭代的预填充数",
    "one_at_a_time": "逐个",
    "request_level": "请求级",
    "orca": "Orca",
    "request with the longest answer": "回答最长的请求",
    "iterations in its slot": "在槽位中的迭代数",
    "requests that ever waited inside": "在批中等待过的请求数",
    "KV blocks taken": "占用的 KV 块数",
    "sooner": "更早",
    "the same": "相同",
    "later": "更晚",
    "tokens to come": "将要写的 token 数",
    "tokens/s": "token/秒",
    "bytes in the cache": "缓存字节数",
    "bytes a token, weighed": "每 token 字节数（称重）",
    "bytes a token, by formula": "每 token 字节数（公式）",
    "model": "模型",
    "layers": "层数",
    "KV heads": "KV 头数",
    "head size": "头的大小",
    "bytes a token": "每 token 字节数",
    "1 MB a token": "每 token 1 MB",
    "800 KiB a token": "每 token 800 KiB",
    "tokens that fit": "放得下的 token 数",
    "of 512 tokens": "512 token 的序列",
    "of 2,048 tokens": "2,048 token 的序列",
    "weights in": "权重格式",
    "16 bits": "16 位",
    "int8 weights": "int8 权重",
    "weights, GB": "权重（GB）",
    "left, GB": "剩余（GB）",
    "positions reserved": "预留的位置数",
    "positions needed": "用到的位置数",
    "used": "用上的",
    "most requests at once": "最多同时运行",
    "by formula": "按公式",
    "a card": "一块卡",
    "twice the capacity": "容量加倍",
    "twice the bandwidth": "带宽加倍",
    "requests of 2,048 tokens": "2,048 token 的请求数",
    "tokens a second for one request, at most": "单个请求每秒最多 token 数",
    "parameters": "参数量",
    "cards of 40 GB for the weights alone": "仅权重就需 40 GB 卡数",
    "dtype": "数据类型",
    "device": "设备",
    "milliseconds a pass": "每次前向传播（毫秒）",
    "milliseconds a token": "每 token（毫秒）",
    "32 requests cost less than 16 passes for one": "32 个请求的代价不到单个请求的 16 倍",
    "tokens generated": "生成的 token 数",
    "times each matrix was used": "每个矩阵被用的次数",
    "tensors of weights": "权重张量数",
    "moved during a pass": "前向传播中移动过的",
    "bandwidth, GB/s": "带宽（GB/秒）",
    "operations a second, billions": "算力（十亿次/秒）",
    "knee, rows": "拐点（行）",
    "tokens of decode in that time": "同样时间可解码的 token 数",
    "512 prompt tokens take longer than twice one token": "512 个提示词 token 用时超过单个 token 的两倍",
    "attention": "注意力",
    "naive": "朴素",
    "fused": "融合",
    "bytes of scores, naive": "分数的字节数（朴素）",
    "bytes of the result": "结果的字节数",
    "waiting": "等待",
    "running": "运行",
    "free slots": "空槽位",
    "free blocks": "空块",
    "admitted": "放进来",
    "referee": "裁判",
    "everybody at once": "全都进来",
    "nobody ever": "谁也不进",
    "somebody twice": "一个进两次",
    "forgot to return": "忘了返回",
    "A: smallest first": "A：最小的先走",
    "B: optimist": "B：乐观者",
    "C: six at once": "C：六个一起",
    "preemptions": "抢占次数",
    "KV blocks": "KV 块数",
    "tokens computed again": "重算的 token 数",
    "reserve the most": "按最长预留",
    "next power of two": "2 的幂",
    "blocks of 8": "8 个一块",
    "positions taken": "占用的位置数",
    "positions written": "写入的位置数",
    "in one piece": "连续存放",
    "in blocks": "按块存放",
    "its blocks, in order": "它的块（按次序）",
    "written": "已写入",
    "for later": "留待后用",
    "never used": "从未用到",
    "free": "空闲",
    "written, in the paper": "已写入（论文）",
    "same answers in all four": "四种的回答相同",
    "block size": "块大小",
    "blocks of the longest request": "最长请求的块数",
    "kept and empty": "占着却空着",
    "longest gap": "最长间隔",
    "chunk_size": "分块大小",
    "longest stall of a writer": "写作者最长停顿（迭代）",
    "stalled slot-iterations": "停顿的槽位迭代数",
    "prefill and decode in one pass": "兼有预填充与解码的迭代数",
    "longest gap, milliseconds": "最长间隔（毫秒）",
    "median gap, milliseconds": "间隔中位数（毫秒）",
    "first token of the last newcomer, milliseconds": "最后一位新来者的首 token 延迟（毫秒）",
    "writers who are paused have the longest gaps": "会停顿的写作者间隔最长",
    "same schedule without a model": "不用模型，调度也相同",
    "longest gap, ticks": "最长间隔（拍）",
    "median gap, ticks": "间隔中位数（拍）",
    "mean TTFT, ticks": "平均首 token 延迟（拍）",
    "longest TTFT, ticks": "最长首 token 延迟（拍）",
    "all done, ticks": "全部完成（拍）",
    "pauses": "停顿次数",
    "running when they came": "当时正在运行",
    "let in together": "一起放进来",
    "reason": "原因",
    "nothing running": "没有在运行的",
    "ratio met": "达到比例",
    "waited too long": "等得太久",
    "passes for the prompt": "读提示词用的前向传播次数",
    "passes, theory": "次数（理论）",
    "gap, theory": "间隔（理论）",
    "tokens written": "写出的 token 数",
    "iterations stalled": "停顿的迭代数",
    "prefill first": "预填充优先",
    "waiting then": "当时在等",
    "no chunks": "不分块",
    "theory, ⌊running × ratio⌋": "理论值 ⌊运行数 × 比例⌋",
    "most at once": "最多同时运行",
    "thrown out in iteration": "在迭代中被抢占",
    "tokens written by then": "当时已写的 token 数",
    "back in iteration": "在迭代中回来",
    "in so many passes": "用了几次前向传播",
    "theory, prompt + written": "理论值 提示词 + 已写",
    "memory": "显存",
    "tight": "紧张",
    "plenty": "充足",
    "blocks copied out": "换出的块数",
    "blocks copied back": "换回的块数",
    "swap": "换出",
    "recompute, microseconds a token": "重计算（微秒/token）",
    "swap, microseconds a token": "换出再换回（微秒/token）",
    "prefix cache": "前缀缓存",
    "off": "关",
    "on": "开",
    "tokens found": "找到的 token 数",
    "found, first run": "找到",
    "order": "顺序",
    "evictions": "淘汰的块数",
    "kv_blocks": "KV 块数",
    "same keys": "键相同",
    "second prompt": "第二个提示词",
    "same beginning": "开头相同",
    "other beginning": "开头不同",
    "decode slot-iterations": "解码的槽位迭代数",
    "most blocks in use": "最多占用块数",
    "preemption": "抢占方式",
    "exercise": "练习",
    "state": "状态",
}
"""Headings and labels of tables: English to Chinese. What is not here (a number, a policy's name) is shown as it is."""


def language(name: str | None = None) -> str | None:
    """Say in which language the course and the boards speak: "en" or "zh". Without a name, return the present one.

    Raises
    ------
    CbvizError
        Another language.
    """
    if name is None:
        return spoken()
    speak(name)
    return None


@cache
def table() -> dict[str, Text]:
    """All words of the course by their keys: the common ones and those of every lesson."""
    from cbviz.course.lessons import LESSONS

    joined = dict(COMMON)
    for lesson in LESSONS:
        for key, text in lesson.WORDS.items():
            if key in joined:
                raise CbvizError(f"two lessons have words under the key {key!r}; keys must be unique.")
            joined[key] = text
    return joined


def say(key: str, **values: Any) -> str:
    """The words under a key in the present language, the values filled in. Raises CbvizError for an unknown key."""
    words = table().get(key)
    if words is None:
        raise CbvizError(f"the course has no words under {key!r}.")
    return (words.zh if spoken() == "zh" else words.en).format(**values)


def term(word: object) -> str:
    """A heading or label in the present language; what the table of terms does not know is returned as it is."""
    try:
        text = str(word).encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:  # what is shown may be a learner's object, or an integer too long for `str`
        text = shown(word)
    return TERMS.get(text, text) if spoken() == "zh" else text

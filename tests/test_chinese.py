"""Chinese text gets Chinese punctuation; code, links and formulas in it are left alone."""

from __future__ import annotations

from pathlib import Path

import chinese
import pytest

COMMA, COLON, STOP, MARK, LEFT, RIGHT = "\uff0c", "\uff1a", "\uff1b", "\uff1f", "\uff08", "\uff09"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("槽位,迭代:好;对?", f"槽位{COMMA}迭代{COLON}好{STOP}对{MARK}"),
        ("一个 token, 一次", f"一个 token{COMMA}一次"),
        ("缓存(KV cache)在这里", f"缓存{LEFT}KV cache{RIGHT}在这里"),
        ("见 [论文](https://a.b/c,d) 与 `f(x, y)`:好", f"见 [论文](https://a.b/c,d) 与 `f(x, y)`{COLON}好"),
        ("static, continuous: both", "static, continuous: both"),
        ("比值是 2:1,共 1,000 个", f"比值是 2:1{COMMA}共 1,000 个"),
        ("公式 $S(n)=E[M]/E[L]$,其中", f"公式 $S(n)=E[M]/E[L]${COMMA}其中"),
        ("```\nf(a, b): 中文, x\n```", "```\nf(a, b): 中文, x\n```"),
        ("**下一节:**[02](02.ipynb):测一测", f"**下一节{COLON}**[02](02.ipynb){COLON}测一测"),
        ("**预填充**(prefill)", f"**预填充**{LEFT}prefill{RIGHT}"),
        ("*一次*读入 *Tokyo*,**好**", f"一次读入 *Tokyo*{COMMA}**好**"),
        ("* 甲\n* 乙", "* 甲\n* 乙"),
        ("- 甲,\n- b, c", f"- 甲{COMMA}\n- b, c"),
    ],
)
def test_punctuation(text: str, right: str) -> None:
    assert chinese.fullwidth(text) == right
    assert chinese.fullwidth(right) == right


def test_string_literals_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.py"
    path.write_text('A = "one, two"\nB = ("甲,乙", f(1, 2))  # 注释,不动\n', "utf-8")
    assert chinese.rewrite(path)
    assert path.read_text("utf-8") == f'A = "one, two"\nB = ("甲{COMMA}乙", f(1, 2))  # 注释,不动\n'
    assert not chinese.rewrite(path)

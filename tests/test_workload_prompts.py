import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cbviz.errors import WorkloadError
from cbviz.workload import prompts as module
from cbviz.workload.prompts import Prompt, prompt_workload, read_prompts


def encode(text: str) -> list[int]:
    return [ord(c) for c in text]


def written(tmp_path: Path, content: str | bytes, name: str = "prompts.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_is_one_prompt_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeffHello there\r\n\n  <b>Why?</b> \n{"not": "json here"}\nline\u2028break 你好')
    assert [p.text for p in read_prompts(path)] == [
        "Hello there",
        "<b>Why?</b>",
        '{"not": "json here"}',
        "line\u2028break 你好",
    ]
    assert all(p.max_new_tokens is None and p.arrival == 0 for p in read_prompts(str(path)))


def test_jsonl_may_say_how_long_and_when(tmp_path: Path) -> None:
    lines = [{"prompt": "a\nb", "max_new_tokens": 7, "arrival": 1.5}, {"prompt": "c"}]
    path = written(tmp_path, "\n".join(json.dumps(line) for line in lines) + "\n\n", "p.JSONL")
    assert read_prompts(path) == (Prompt("a\nb", 7, 1.5), Prompt("c"))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\ntwo\n")))
    assert read_prompts("-") == (Prompt("one"), Prompt("two"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"prompt": "a"}\n{"prompt": ', r"line 2: this is not JSON"),
        ('{"prompt": "a"}\n\n[1, 2]', r"line 3: each line must be an object"),
        ('"a"', "line 1: each line must be an object"),
        ('{"text": "a"}', "line 1: each line must be an object"),
        ('{"prompt": "a", "colour": 1}', "line 1: unknown key 'colour'; allowed are prompt, max_new_tokens, arrival"),
        ('{"prompt": ""}', "line 1: a prompt must be a text"),
        ('{"prompt": 7}', "line 1: a prompt must be a text"),
        ('{"prompt": "a", "max_new_tokens": 0}', "line 1: max_new_tokens must be a whole number of at least 1, not 0"),
        ('{"prompt": "a", "max_new_tokens": 2.5}', "line 1: max_new_tokens"),
        ('{"prompt": "a", "arrival": NaN}', "line 1: arrival must be a finite number of at least 0, not nan"),
        ('{"prompt": "a", "arrival": -1}', "line 1: arrival"),
        ('{"prompt": "a", "arrival": "soon"}', "line 1: arrival"),
        ("[" * 100_000, "line 1: this is not JSON"),
        ('{"prompt": "a", "max_new_tokens": ' + "9" * 5000 + "}", "line 1: this is not JSON"),
        ("\n \n", "holds no prompt"),
    ],
)
def test_bad_jsonl_names_the_line(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(WorkloadError, match=says):
        read_prompts(written(tmp_path, content, "p.jsonl"))


def test_files_that_are_no_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkloadError, match=r"^there is no file .*missing\.txt\.$"):
        read_prompts(tmp_path / "missing.txt")
    with pytest.raises(WorkloadError, match=r"^the file of prompts .* cannot be read: it is not a file\.$"):
        read_prompts(tmp_path)
    with pytest.raises(WorkloadError, match=r"^the file of prompts .*NUL"):
        read_prompts("nul\0name")
    with pytest.raises(WorkloadError, match="holds no prompt"):
        read_prompts(written(tmp_path, ""))
    with pytest.raises(WorkloadError, match="line 2: not UTF-8"):
        read_prompts(written(tmp_path, b"fine\nSm\xf6rg\xe5s\n"))
    monkeypatch.setattr(module, "LARGEST", 8)
    with pytest.raises(WorkloadError, match="too large"):
        read_prompts(written(tmp_path, "nine chars"))


def test_a_workload_of_prompts_is_sorted_by_arrival() -> None:
    workload = prompt_workload(encode, [Prompt("late", 3, 2.0), "early"], seed=4, max_new_tokens=9)
    assert [(r.id, r.text, r.max_new_tokens, r.arrival) for r in workload] == [(0, "early", 9, 0), (1, "late", 3, 2.0)]
    assert workload.requests[0].prompt == tuple(map(ord, "early"))
    assert workload.seed == 4
    assert all(r.output_length is None and r.answer is None for r in workload)


def test_an_answer_gets_what_the_context_leaves() -> None:
    workload = prompt_workload(encode, ["12345"], max_new_tokens=100, context_limit=8)
    assert workload.requests[0].max_new_tokens == 3
    with pytest.raises(WorkloadError, match="8 tokens leaves no room for an answer in a context of 8"):
        prompt_workload(encode, ["12345678"], context_limit=8)


@pytest.mark.parametrize("bad", ["one text", [], None, [""], ["  "], [3]])
def test_prompts_that_are_none(bad: object) -> None:
    with pytest.raises(WorkloadError):
        prompt_workload(encode, bad)  # type: ignore[arg-type]


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(WorkloadError, match="max_new_tokens"):
        prompt_workload(encode, ["a"], max_new_tokens=0)
    with pytest.raises(WorkloadError, match="seed"):
        prompt_workload(encode, ["a"], seed=-1)

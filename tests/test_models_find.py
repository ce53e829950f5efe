import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, T5Config
from transformers.utils import logging as transformers_logging

from cbviz.errors import CapacityError, ModelError
from cbviz.models import LoadedModel, catalogue, load
from cbviz.models.device import free_bytes, pick_device, pick_dtype
from cbviz.models.find import TINY
from cbviz.models.shapes import random_weights

CPU = torch.device("cpu")
SMALL = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    eos_token_id=None,
)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small Llama with random weights, saved as people save models, without a tokenizer."""
    random_weights(SMALL, "llama", CPU, torch.float32, seed=3).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_tiny_is_ready_to_be_served(tiny: LoadedModel) -> None:
    assert tiny.name == "tiny"
    assert (tiny.device, tiny.dtype) == (CPU, torch.float32)
    assert not tiny.model.training
    assert {(p.dtype, p.requires_grad) for p in tiny.model.parameters()} == {(torch.float32, False)}
    assert 0 < tiny.parameters <= 2_000_000
    assert tiny.weight_bytes == 4 * tiny.parameters
    config = json.loads((TINY / "config.json").read_text())
    assert tiny.context_limit == config["max_position_embeddings"]
    assert tiny.vocabulary == config["vocab_size"]
    assert tiny.end_tokens == (config["eos_token_id"],)
    heads = config["num_key_value_heads"] * config["head_dim"]
    assert tiny.kv_bytes_per_token == 2 * config["num_hidden_layers"] * heads * 4


def test_tiny_reads_and_writes_text(tiny: LoadedModel) -> None:
    prompt = tiny.encode("Count to 12")
    assert tiny.decode(prompt) == "Count to 12\n"
    output = tiny.model.generate(torch.tensor([prompt]), max_new_tokens=60, do_sample=False)[0, len(prompt) :].tolist()
    assert output[-1] in tiny.end_tokens
    assert tiny.decode(output) == "1 2 3 4 5 6 7 8 9 10 11 12"
    pieces = tiny.pieces(output)
    assert len(pieces) == len(output)
    assert "".join(pieces) == tiny.decode(output)
    assert pieces[-1] == ""
    stream = tiny.stream()
    assert [stream.add(token) for token in output] == pieces


@pytest.mark.parametrize("bad", ["", " \n", None, 3])
def test_prompts_that_are_no_text(tiny: LoadedModel, bad: Any) -> None:
    with pytest.raises(ModelError, match="a prompt must be a text that is not empty"):
        tiny.encode(bad)


def test_a_template_that_fails_gives_one_sentence(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", "{{ raise_exception('no users here') }}")
    with pytest.raises(ModelError, match=r"chat template of tiny fails on 'hello': .*no users here"):
        tiny.encode("hello")


def test_a_folder_loads_and_gives_the_same_logits(folder: Path) -> None:
    loaded = load(str(folder), device="cpu")
    original = random_weights(SMALL, "llama", CPU, torch.float32, seed=3).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, original(ids).logits)
    assert loaded.tokenizer is None
    assert not loaded.chat
    for call in (lambda: loaded.encode("hello"), lambda: loaded.decode([1]), loaded.stream):
        with pytest.raises(ModelError, match="has no tokenizer"):
            call()
    assert load(str(folder), device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_loading_leaves_the_settings_of_transformers_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load(str(folder), device="cpu")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_model(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model in .*config\.json"):
        load(str(tmp_path))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not opened"):
        load(str(folder))


@pytest.mark.parametrize("damage", ["cut", "garbage", "lacking", "misshapen", "config"])
def test_damaged_folders_give_one_sentence(folder: Path, damage: str) -> None:
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "garbage":
        weights.write_bytes(b"\xff" * 1000)
    elif damage == "config":
        (folder / "config.json").write_text("{")
    else:
        tensors = load_file(weights)
        norm = tensors.pop("model.norm.weight")
        if damage == "misshapen":
            tensors["model.norm.weight"] = torch.cat([norm, norm])
        save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError) as refused:
        load(str(folder), device="cpu")
    assert "\n" not in str(refused.value)
    if damage == "lacking":
        assert "model.norm.weight is missing" in str(refused.value)


def test_models_with_an_encoder_are_refused(tmp_path: Path) -> None:
    T5Config(num_layers=1).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="'t5', which has an encoder"):
        load(str(tmp_path))


def test_a_folder_that_cannot_fit_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.models.device.free_bytes", lambda device: 1000)
    with pytest.raises(CapacityError, match=r"does not fit on cpu: [\d,]+ parameters × 4 bytes"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize(
    "name", ["tinny", "./nothing/here", "a/b/c", "../up", "", " ", None, 7, "https://x.org/y", "a\0b"]
)
def test_unknown_names_say_what_is_allowed(name: Any) -> None:
    with pytest.raises(ModelError, match=r"allowed are tiny, smollm2-135m, .*random:opt-13b.*a folder, or a Hugging"):
        load(name)


def test_the_catalogue_lists_every_name() -> None:
    assert list(catalogue())[:3] == ["tiny", "smollm2-135m", "smollm2-135m@hub"]
    assert "random:llama-3.1-8b" in catalogue()
    assert all("\n" not in summary for summary in catalogue().values())


def test_hub_ids_are_fetched_into_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def snapshot(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert load("someone/model", device="cpu").name == "someone/model"
    assert load("smollm2-135m@hub", device="cpu", progress=False).name == "smollm2-135m@hub"
    assert [repository for repository, _ in asked] == ["someone/model", "HuggingFaceTB/SmolLM2-135M-Instruct"]
    patterns = asked[0][1]["allow_patterns"]
    assert "*.safetensors" in patterns
    assert not {"*.bin", "*.py", "*.pt", "*.pkl"} & set(patterns)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LocalEntryNotFoundError("x"), "cannot reach the Hugging Face hub, and someone/model is not in its cache"),
        (OSError("disk full"), "cannot fetch someone/model from the Hugging Face hub: disk full"),
    ],
)
def test_a_hub_that_fails_gives_one_sentence(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(repository: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(ModelError, match=says):
        load("someone/model")


@pytest.mark.parametrize("name", ["gpu", "mps", "cpu0", "", 3.5])
def test_unknown_devices(name: Any) -> None:
    with pytest.raises(ModelError, match=r"allowed are 'cpu', 'cuda' and 'cuda:N'"):
        pick_device(name)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(None) == pick_device("cpu") == pick_device(CPU) == CPU
    with pytest.raises(ModelError, match="no CUDA device here"):
        load("tiny", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert pick_device(None) == pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ModelError, match=r"no 'cuda:2' here: 2 CUDA device\(s\), from 'cuda:0' to 'cuda:1'"):
        pick_device("cuda:2")


def test_number_formats() -> None:
    assert pick_dtype(None, CPU) == torch.float32
    assert pick_dtype(None, torch.device("cuda:0")) == torch.bfloat16
    assert pick_dtype("float16", CPU) == pick_dtype(torch.float16, CPU) == torch.float16
    for bad in ("int8", "fp8", "", torch.int32, 16):
        with pytest.raises(ModelError, match=r"unknown dtype .* allowed are float32, bfloat16, float16"):
            pick_dtype(bad, CPU)  # type: ignore[arg-type]


def test_free_memory_is_a_sensible_number() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 2**20 < free < 2**50

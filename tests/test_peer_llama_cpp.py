"""The comparison with llama.cpp's server, on a small GGUF and a server that only pretends."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cbviz.errors import CbvizError
from cbviz.workload import Workload
from cbviz.workload.request import Request

SERVER = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = dict(zip(sys.argv[1:], sys.argv[2:]))
if options["--model"].endswith("broken.gguf"):
    sys.exit("error loading model: broken")
assert options["--parallel"] == "2" and "--cont-batching" in options and options["--ctx-size"] == "512"


class Handler(BaseHTTPRequestHandler):
    def answer(self, found):
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({{"status": "ok"}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["temperature"] == 0 and not asked["cache_prompt"] and asked["return_tokens"]
        tokens = [token + 1 for token in asked["prompt"]] * 5
        self.answer({{"tokens": tokens if options.get("--too") == "many" else tokens[: asked["n_predict"]]}})

    def log_message(self, *_):
        pass


ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    return importlib.import_module("peer_llama_cpp")


@pytest.fixture
def server(tmp_path: Path) -> Path:
    place = tmp_path / "llama-server"
    place.write_text(SERVER.format(python=sys.executable))
    place.chmod(0o755)
    return place


WORK = Workload("", (Request(0, (3, 4), 3), Request(1, (7,), 4)))


def test_requests_go_to_the_server_together(peer: ModuleType, server: Path, tmp_path: Path) -> None:
    with peer.serving(server, tmp_path / "model.gguf", WORK, 2, ()) as address:
        found = peer.served(address, WORK, 2)
    assert found["answers"] == [[4, 5, 4], [8, 8, 8, 8]]
    assert len(found["runs"]) == 2
    assert all(seconds > 0 for seconds in found["runs"])


def test_more_tokens_than_were_asked_for_are_no_answer(peer: ModuleType, server: Path, tmp_path: Path) -> None:
    serving = peer.serving(server, tmp_path / "model.gguf", WORK, 2, ("--too", "many"))
    with serving as address, pytest.raises(CbvizError, match="10 tokens where 3 were asked for"):
        peer.served(address, WORK, 1)


def test_a_server_that_does_not_start_says_why(peer: ModuleType, server: Path, tmp_path: Path) -> None:
    serving = peer.serving(server, tmp_path / "broken.gguf", WORK, 2, ())
    with pytest.raises(SystemExit, match=r"does not serve broken\.gguf:\nerror loading model: broken"), serving:
        pass


def test_an_end_that_a_server_leaves_out_is_no_difference(peer: ModuleType) -> None:
    assert peer.same([(5, 6, 2), (7,), (8, 9)], [[5, 6], [7, 2], [8, 8]], ends=(2,)) == 2


def test_a_row_has_the_median_and_its_rate(peer: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    found = peer.row("x", [2.0, 8.0, 4.0], 100, same_answers=3)
    assert (found["seconds"], found["tokens_per_second"], found["same_answers"]) == (4.0, 25.0, 3)
    assert "4.00 s (2.00 to 8.00)" in capsys.readouterr().out


def test_the_float32_file_has_the_same_numbers_and_words(peer: ModuleType, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    numbers = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_name("a small model")
    writer.add_context_length(128)
    writer.add_token_list(["<s>", "猫", "dog"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    packed = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.attn_q.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("output_norm.weight", numbers[0])
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    read = gguf.GGUFReader(peer.as_float32(tmp_path / "small.gguf", tmp_path / "f32.gguf"))
    assert read.fields["general.architecture"].contents() == "llama"
    assert read.fields["general.name"].contents() == "a small model"
    assert read.fields["llama.context_length"].contents() == 128
    assert read.fields["tokenizer.ggml.tokens"].contents() == ["<s>", "猫", "dog"]
    assert read.fields["general.file_type"].contents() == gguf.LlamaFileType.ALL_F32
    tensors = {tensor.name: tensor for tensor in read.tensors}
    assert {tensor.tensor_type for tensor in read.tensors} == {gguf.GGMLQuantizationType.F32}
    wanted = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
    assert np.array_equal(tensors["blk.0.attn_q.weight"].data, wanted)
    assert np.array_equal(tensors["output_norm.weight"].data, numbers[0])

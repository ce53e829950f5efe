"""Every device runs, or is refused in one sentence: asked of faked devices, for the tests' machine has none of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from cbviz.cuda.reasons import why_no_graphs
from cbviz.errors import CapacityError, CbvizError, ModelError
from cbviz.models import LoadedModel, as_loaded, capability, device, find, half, host_memory, load
from cbviz.models.capability import Capability, ask, forget
from cbviz.models.device import check_device, device_name, fallback, free_bytes, pick_device, pick_dtype
from cbviz.models.probes import Gpu
from cbviz.run import capacity, how, rates
from cbviz.run.bench import bench
from cbviz.run.race import race

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
"""What PyTorch's wheel for CUDA 13 is compiled for; the older one for CUDA 12 begins with sm_50."""
NO_TRITON = ModuleNotFoundError("No module named 'triton'")


@dataclass
class Fake:
    """Probes of a machine that is not this one. An exception among the answers is raised."""

    name: str = "NVIDIA H100 80GB HBM3"
    sm: tuple[int, int] | None = (9, 0)
    memory: int | None = 80 * 2**30
    gpus: int = 1
    built: str = "cuda"
    compiled_for: tuple[str, ...] = WHEEL
    triton_works: str | Exception = "3.7.1"
    flash: bool = True
    opens: Exception | None = None
    runs: Exception | None = None
    left: int | Exception = 70 * 2**30
    there: bool = True
    asked: int = 0

    def build(self) -> tuple[str, str]:
        return self.built, "2.13.0"

    def count(self) -> int:
        return self.gpus

    def current(self) -> int:
        return 0

    def open(self) -> None:
        if self.opens:
            raise self.opens

    def present(self) -> bool:
        return self.there

    def gpu(self, index: int) -> Gpu:
        self.asked += 1
        return Gpu(self.name, self.sm, self.memory)

    def architectures(self) -> tuple[str, ...]:
        return self.compiled_for

    def launch(self, index: int) -> None:
        if self.runs:
            raise self.runs

    def flash_attention(self) -> bool:
        return self.flash

    def triton(self, index: int) -> str:
        if isinstance(self.triton_works, Exception):
            raise self.triton_works
        return self.triton_works

    def free(self, index: int) -> int:
        if isinstance(self.left, Exception):
            raise self.left
        return self.left


H100 = Fake()
A100 = Fake("NVIDIA A100-SXM4-40GB", (8, 0), 40 * 2**30)
SLICE = Fake("NVIDIA A100-SXM4-40GB MIG 1g.5gb", (8, 0), 5 * 2**30)
RTX_3090 = Fake("NVIDIA GeForce RTX 3090", (8, 6), 24 * 2**30)
RTX_4090 = Fake("NVIDIA GeForce RTX 4090", (8, 9), 24 * 2**30)
RTX_5090 = Fake("NVIDIA GeForce RTX 5090", (12, 0), 32 * 2**30)
T4 = Fake("Tesla T4", (7, 5), 15 * 2**30)
V100 = Fake("Tesla V100-SXM2-16GB", (7, 0), 16 * 2**30, compiled_for=("sm_50", "sm_60", "sm_70", "sm_75", "sm_80"))
WINDOWS = replace(RTX_4090, triton_works=NO_TRITON)
NO_COMPILER = replace(A100, triton_works=RuntimeError("Failed to find C compiler.\nPlease specify one via CC."))
MI300 = Fake("AMD Instinct MI300X", (9, 4), 192 * 2**30, built="rocm", compiled_for=("gfx942",))
SILENT = Fake("cuda:0", None, None, triton_works=RuntimeError("no answer"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fake], Fake]]:
    """Put a faked machine in place of this one."""

    def put(fake: Fake) -> Fake:
        fresh = replace(fake)
        monkeypatch.setattr(capability, "probes", lambda: fresh)
        forget()
        return fresh

    yield put
    monkeypatch.undo()
    forget()


def stands(where: torch.device = GPU, dtype: torch.dtype = torch.float16, note: str = "") -> LoadedModel:
    """A loaded model as far as it says where it lies: no numbers can lie on a GPU that is not there."""
    model: Any = SimpleNamespace(device=where)
    return LoadedModel("stands", model, None, where, dtype, note=note)


@pytest.mark.parametrize(
    ("fake", "dtype", "graphs", "says"),
    [
        (H100, torch.bfloat16, True, ""),
        (A100, torch.bfloat16, True, ""),
        (SLICE, torch.bfloat16, True, ""),
        (RTX_3090, torch.bfloat16, True, ""),
        (RTX_4090, torch.bfloat16, True, ""),
        (RTX_5090, torch.bfloat16, True, ""),
        (T4, torch.float16, False, r"Tesla T4 has compute capability 7\.5, and they need 8\.0 \(Ampere\) or more"),
        (V100, torch.float16, False, r"Tesla V100-SXM2-16GB has compute capability 7\.0, and they need 8\.0"),
        (WINDOWS, torch.bfloat16, False, r"they need Triton, which does not work here \(it is not installed\)"),
        (NO_COMPILER, torch.bfloat16, False, r"does not work here \(Failed to find C compiler\)"),
        (replace(A100, flash=False), torch.bfloat16, False, "they need FlashAttention, which this PyTorch was built"),
        (
            MI300,
            torch.bfloat16,
            False,
            "AMD Instinct MI300X is an AMD GPU, and our kernels .* are written for NVIDIA's",
        ),
        (SILENT, torch.bfloat16, False, "the driver does not say which compute capability cuda:0 has"),
    ],
    ids=lambda value: value.name if isinstance(value, Fake) else None,
)
def test_a_gpu_runs_in_graphs_or_eagerly_with_a_sentence(
    here: Callable[[Fake], Fake], fake: Fake, dtype: torch.dtype, graphs: bool, says: str
) -> None:
    put = here(fake)
    assert pick_device(None) == pick_device("cuda") == pick_device("cuda:0") == GPU
    assert pick_dtype(None, GPU) == dtype
    assert device_name(GPU) == fake.name
    assert check_device(GPU).memory == fake.memory
    assert fallback(None) == ""
    assert put.asked == 1, "a device is asked once"
    why = capability.capability(GPU).no_graphs
    if graphs:
        assert why is None
        return
    with_graphs = why_no_graphs(cast(Any, SimpleNamespace(device=GPU)))
    assert with_graphs == why
    loaded = stands(dtype=dtype)
    assert how.choose_backend(loaded) == "sdpa"
    precision = str(dtype).removeprefix("torch.")
    (sentence,) = how.how_it_runs(loaded)
    assert sentence == f"Runs eagerly in {precision}, with PyTorch's own attention and without CUDA graphs: {why}."
    with pytest.raises(ModelError, match=rf"^this model cannot run in CUDA graphs here: .*{says}.*; backend='sdpa'"):
        how.choose_backend(loaded, "graphs")
    assert how.how_it_runs(loaded, "sdpa") == (), "who wants no graphs is not given reasons"


def test_on_a_cpu_nothing_needs_saying(here: Callable[[Fake], Fake]) -> None:
    here(Fake(gpus=0, built="", there=False))
    assert pick_device(None) == CPU
    assert pick_dtype(None, CPU) == torch.float32
    assert capability.capability(CPU) == Capability("cpu", "cpu")
    assert fallback(None) == ""
    assert how.how_it_runs(stands(CPU)) == ()
    assert how.choose_backend(stands(CPU)) == "sdpa"
    assert how.choose_backend(stands(CPU), "graphs") == "graphs"


def test_bfloat16_is_refused_where_there_is_no_arithmetic_for_it(here: Callable[[Fake], Fake]) -> None:
    here(T4)
    for name in ("bfloat16", torch.bfloat16):
        with pytest.raises(
            ModelError,
            match=r"^Tesla T4 has no bfloat16 arithmetic \(compute capability 7\.5, and bfloat16 needs 8\.0\); use fl",
        ):
            pick_dtype(name, GPU)
    assert pick_dtype("float16", GPU) == torch.float16
    assert pick_dtype("float32", GPU) == torch.float32
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("fake", "why"),
    [
        (Fake(gpus=0, built=""), r"PyTorch 2\.13\.0 was built without CUDA"),
        (
            Fake(
                gpus=0, opens=RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nUpdate")
            ),
            r"The NVIDIA driver on your system is too old \(found version 11040\)",
        ),
        (Fake(gpus=0), "the driver shows none"),
    ],
)
def test_a_gpu_that_pytorch_cannot_open(here: Callable[[Fake], Fake], fake: Fake, why: str) -> None:
    here(fake)
    assert pick_device(None) == CPU
    assert fallback("cpu") == ""
    with pytest.raises(
        ModelError, match=rf"^there is no CUDA device here, so 'cuda:0' cannot be used \({why}\); use 'cpu'"
    ):
        pick_device("cuda:0")
    loaded = load("tiny")
    assert loaded.device == CPU
    assert how.how_it_runs(loaded) == (loaded.note,)
    assert loaded.note.startswith("Runs on the CPU, for its GPU cannot be used: ")
    assert race(loaded, ["continuous"], requests=2, repeats=1, live=False).to_json()["notes"] == [loaded.note]
    here(replace(fake, there=False))
    assert load("tiny").note == "", "a machine without a GPU is an ordinary one"


def test_a_gpu_that_pytorch_has_no_kernels_for(here: Callable[[Fake], Fake]) -> None:
    """A Tesla K80, or a card that is newer than the PyTorch: "no kernel image is available" would come much later."""
    for fake in (
        Fake("Tesla K80", (3, 7), 12 * 2**30),
        replace(V100, compiled_for=WHEEL),
        replace(RTX_5090, compiled_for=("sm_80", "sm_90a")),
    ):
        here(fake)
        assert pick_device(None) == CPU
        assert f"PyTorch 2.13.0 has no kernels for {fake.name} (compute capability" in fallback(None)
        with pytest.raises(ModelError, match=f"'cuda' cannot be used: .* no kernels for {fake.name}.*, or use 'cpu'"):
            pick_device("cuda")


@pytest.mark.parametrize(
    ("sm", "compiled_for", "runs"),
    [
        ((8, 6), ("sm_80",), True),  # the same generation, not newer
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # code that the driver compiles
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100f",), True),
        ((10, 3), ("sm_100a",), False),
        ((12, 1), ("sm_120",), True),
        ((12, 0), ("compute_120a", "strange"), True),
        ((12, 1), ("compute_120a",), False),
        ((7, 0), (), True),  # not known
    ],
)
def test_which_kernels_run_where(sm: tuple[int, int], compiled_for: tuple[str, ...], runs: bool) -> None:
    found = ask(Fake(sm=sm, compiled_for=compiled_for), "cuda")
    assert (found.unusable == "") is runs


def test_a_gpu_that_is_seen_and_does_not_work(here: Callable[[Fake], Fake]) -> None:
    here(replace(H100, runs=RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel")))
    with pytest.raises(
        ModelError, match=r"^'cuda:0' \(NVIDIA H100 .*\) cannot be used: .* busy or unavailable; use 'cpu'"
    ):
        load("tiny", device="cuda")
    with pytest.raises(ModelError, match="busy or unavailable; use 'cpu'"):
        load("tiny")
    assert load("tiny", device="cpu").device == CPU


@pytest.mark.parametrize("kind", ["mps", "xpu", "hip", "meta", "vulkan", "xla"])
def test_kinds_of_devices_that_are_not_served(kind: str) -> None:
    for name in (kind, f"{kind}:0", torch.device(kind)):
        with pytest.raises(ModelError, match=rf"^device '{kind}.*' is not supported.*; allowed are 'cpu', 'cuda' and"):
            pick_device(name)
    with pytest.raises(ModelError, match=f"does not run on '{kind}' devices; allowed are 'cpu', 'cuda'"):
        as_loaded(stands(torch.device(kind)))
    assert kind in ask(H100, kind).unusable


NONSENSE = (
    *("cuda:-1", "cuda:", "cuda:01", "cuda:1a", "CUDA", " cuda", "npu", "rocm", "a\ud800", "cuda\n", "MIG-0123", ""),
    *(0, -1, 1.5, True, 10**5000, b"cuda", [], {}, object(), "c" * 10_000),
)


@pytest.mark.parametrize("name", NONSENSE, ids=[str(n) for n in range(len(NONSENSE))])
def test_nonsense_for_a_device(name: Any) -> None:
    with pytest.raises(ModelError, match=r"^unknown device .*; allowed are 'cpu', 'cuda' and 'cuda:N'\.$") as refused:
        pick_device(name)
    assert len(str(refused.value)) < 200
    with pytest.raises(CbvizError):
        race("tiny", device=name, requests=2, live=False)


@pytest.mark.parametrize("number", [1, 7, 255, 256, 999, 65_536])
def test_a_gpu_s_number_is_not_taken_modulo(here: Callable[[Fake], Fake], number: int) -> None:
    """PyTorch keeps the number in 8 bits: its own "cuda:256" is cuda:0."""
    here(H100)
    with pytest.raises(ModelError, match=rf"^there is no 'cuda:{number}' here: 1 CUDA device\(s\), from 'cuda:0'"):
        pick_device(f"cuda:{number}")


def test_mac_and_windows_take_the_cpu(here: Callable[[Fake], Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    for system in ("Darwin", "Windows"):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        here(Fake(gpus=0, built="", there=False))
        assert pick_device(None) == CPU
        with pytest.raises(ModelError, match="no Mac has one" if system == "Darwin" else "built without CUDA"):
            pick_device("cuda")


def test_everything_on_a_cpu_runs_without_triton_and_torchao() -> None:
    """Triton exists on Linux alone, and nothing on a CPU may want it, nor Inductor and its compiler."""
    code = """
import sys
sys.modules["triton"] = sys.modules["torchao"] = None
import cbviz
raced = cbviz.race("tiny", ["static", "continuous"], requests=4, repeats=1, device="cpu", live=False)
assert raced.identical_outputs
from cbviz.measure.roofline_bound import Rates
found = cbviz.bench("tiny", requests=4, repeats=1, device="cpu", rates=Rates(1e10, 1e11))
assert found.notes == () and not found.graphs
print("ran", [name for name in sys.modules if name.startswith("torch._inductor.codegen")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "ran []\n", run.stderr[-2000:]


def test_compiling_on_a_cpu_without_a_compiler_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    with pytest.raises(
        ModelError, match=r"needs a C\+\+ compiler on a CPU \(No working.*\); compiled=False \(--no-compile"
    ):
        bench("tiny", requests=2, graphs=True, device="cpu")


# ------------------------------------------------------------------ memory


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_least_of_all_limits_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = tmp_path / "groups"
    monkeypatch.setattr(host_memory, "_MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_GROUPS", groups)
    monkeypatch.setattr(host_memory, "_OWN_GROUPS", tmp_path / "own")
    physical = host_memory._physical()
    assert free_bytes(CPU) == physical, "nothing else is known"
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1000 kB\n")
    assert free_bytes(CPU) == 1000 * 1024
    # Version 2: a limit of the group above counts, too; files in memory that can be dropped are free.
    (tmp_path / "own").write_text("0::/box/inner\n")
    written(groups / "box/inner", memory__max="max\n", memory__current="10", memory__stat="")
    assert free_bytes(CPU) == 1000 * 1024
    written(groups / "box", memory__max="700000", memory__current="300000", memory__stat="inactive_file 1000\nanon 5\n")
    assert free_bytes(CPU) == 401_000
    # Version 1, as older systems and Colab have it.
    (tmp_path / "own").write_text("3:cpu,memory:/box\n0::/box\n")
    written(
        groups / "memory/box",
        memory__limit_in_bytes="500000",
        memory__usage_in_bytes="400000",
        memory__stat="total_inactive_file 50\ninactive_file 7\n",
    )
    assert free_bytes(CPU) == 100_050
    written(groups / "memory/box", memory__usage_in_bytes="600000")
    assert free_bytes(CPU) == 0
    for nonsense in ("", "MemAvailable: kB", "MemAvailable:"):
        (tmp_path / "meminfo").write_text(nonsense)
        assert host_memory._meminfo() is None


@pytest.mark.parametrize("answer", [AttributeError("no sysconf"), ValueError("unknown"), OSError(), -1])
def test_a_system_that_does_not_say_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception | int
) -> None:
    def sysconf(name: str) -> int:
        if isinstance(answer, Exception):
            raise answer
        return answer

    for name in ("_MEMORY_INFO", "_GROUPS", "_OWN_GROUPS"):
        monkeypatch.setattr(host_memory, name, tmp_path / "nothing")
    monkeypatch.setattr(host_memory.os, "sysconf", sysconf, raising=False)
    assert free_bytes(CPU) is None
    assert capacity.reserve(CPU) == capacity.LEAST_RESERVE["cpu"]
    raced = race("tiny", ["continuous"], requests=2, repeats=1, device="cpu", live=False)
    assert raced.lanes[0].output_tokens > 0


def test_a_gpu_that_does_not_say_how_much_is_free(here: Callable[[Fake], Fake]) -> None:
    here(replace(H100, left=RuntimeError("not permitted"), memory=None))
    assert free_bytes(GPU) is None
    assert capacity.free_now(GPU) is None
    assert capacity.reserve(GPU) == capacity.LEAST_RESERVE["cuda"]
    device.check_fit("anything", 10**15, torch.float32, GPU)
    here(replace(H100, left=1000))
    with pytest.raises(CapacityError, match="does not fit on cuda:0"):
        device.check_fit("anything", 10**15, torch.float32, GPU)


def test_memory_that_runs_out_while_loading_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    monkeypatch.setattr(find, "_loaded", full)
    with pytest.raises(CapacityError, match="tiny does not fit on cpu: its memory ran out"):
        load("tiny", device="cpu")


# ------------------------------------------------------------------ float16, int8, rates


def test_numbers_that_float16_cannot_hold_are_refused() -> None:
    sound = load("tiny", device="cpu", dtype="float16")
    with torch.no_grad():
        sound.model.get_input_embeddings().weight.mul_(6e4)
    with pytest.raises(
        ModelError, match=r"tiny computes numbers that float16 cannot hold .* take float32, or bfloat16"
    ):
        half.check_finite(sound)
    half.check_finite(replace(sound, dtype=torch.bfloat16))  # not looked at


def test_a_model_that_does_not_compute_in_float16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load("tiny", device="cpu", dtype="float16")

    def forward(**_: Any) -> Any:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr(loaded.model, "forward", forward)
    with pytest.raises(
        ModelError, match=r"tiny cannot compute in float16 here: .*not implemented for 'Half'; take float32"
    ):
        half.check_finite(loaded)


def test_a_torchao_that_does_not_work_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("torchao was built for another PyTorch")

    def never(*_: Any) -> Any:
        raise AssertionError("it was loaded all the same")

    monkeypatch.setattr(find, "_loaded", never)
    monkeypatch.setitem(sys.modules, "torchao.quantization", Broken())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="torchao that works here; this one does not: torchao was built for another"):
        load("tiny", device="cpu", weights="int8")
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"int8 weights need torchao; run: pip install 'cbviz\[int8\]'"):
        load("tiny", device="cpu", weights="int8")


def test_a_torchao_that_fails_on_the_device_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise NotImplementedError("int8 on this device\nsecond line")

    monkeypatch.setattr("torchao.quantization.quantize_", fails)
    with pytest.raises(
        ModelError, match="cannot turn the weights of tiny into int8 on cpu: int8 on this device; they may"
    ):
        load("tiny", device="cpu", weights="int8")


def test_a_clock_that_stands_still_divides_nothing_by_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "perf_counter", lambda: 1.0)
    found = rates.measured_rates(CPU, torch.float32)
    assert 0 < found.bandwidth < float("inf")
    assert 0 < found.flops < float("inf")


def test_little_memory_makes_the_measured_matrices_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    honest = torch.mm

    def mm(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(left.shape))
        return honest(left, right, out=out)

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(rates, "free_bytes", lambda _: 2 * 3 * 256 * 256 * 4)
    assert rates.measured_rates(CPU, torch.float32).flops > 0
    assert set(sizes) == {(256, 256)}
    monkeypatch.setattr(rates, "_bandwidth", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(CapacityError, match="cpu ran out of memory while measuring how fast it copies"):
        rates.measured_rates(CPU, torch.float32)


@pytest.mark.parametrize("model", [5, None, object(), ["tiny"], b"tiny", torch.nn.Linear(1, 1)])
def test_what_is_no_model_is_refused(model: Any) -> None:
    for call in (as_loaded, lambda m: race(m, live=False), bench):
        with pytest.raises(CbvizError, match=r"^model must be a name, or a model from cbviz\.models\.load, not "):
            call(model)

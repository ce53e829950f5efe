"""The benchmark: its numbers add up, its floor is that of its own run, and what makes no sense is refused."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import cbviz
from cbviz import cli
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.eager.kv_cache import KVCache
from cbviz.errors import CapacityError, CbvizError, ModelError, PolicyError, WorkloadError
from cbviz.measure.roofline_bound import Rates, floor
from cbviz.models import LoadedModel, load
from cbviz.run import baseline_process, capacity, rates
from cbviz.run.baselines import PeerJob, check_peers, run_peer
from cbviz.run.bench import BenchResult, bench
from cbviz.run.bench_work import WORKLOADS, named_workload, suitable
from cbviz.run.breakdown import Kernel, breakdown, kind
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.progress import SilentProgress
from cbviz.run.rates import measured_rates, model_facts
from cbviz.trace import Recorder
from cbviz.workload import Request, Sampling, Workload
from cbviz.workload.lengths import Uniform
from cbviz.workload.synthetic import synthetic
from tests.shapes import make

CPU = torch.device("cpu")
GIVEN = Rates(1e10, 1e11)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


@pytest.fixture(scope="module")
def shape() -> LoadedModel:
    """A small Llama with random weights, its embedding table not shared with the output layer."""
    return LoadedModel("random:small", make("llama"), None, CPU, torch.float32)


def small(loaded: LoadedModel, **options: Any) -> BenchResult:
    """Six requests with forced lengths of at most 12 on two slots."""
    asked: dict[str, Any] = {"workload": "exponential", "requests": 6, "prompt_tokens": 5, "max_new_tokens": 12}
    return bench(loaded, **asked | {"slots": 2, "repeats": 2, "rates": GIVEN} | options)


# ---------------------------------------------------------------------- the numbers


def test_the_numbers_add_up(shape: LoadedModel) -> None:
    found = small(shape, repeats=3)
    trace = found.trace
    work = named_workload("exponential", shape, requests=6, prompt_tokens=5, max_new_tokens=12)
    assert found.output_tokens == sum(request.output_length or 0 for request in work) == trace.output_tokens
    assert found.iterations == len(trace.iterations)
    assert len(found.runs) == 3
    assert min(found.runs) <= found.seconds <= max(found.runs)
    assert found.seconds == sorted(found.runs)[1]
    assert trace.seconds <= found.seconds, "the engine's clock runs only while it computes"
    assert found.tokens_per_second == pytest.approx(found.output_tokens / found.seconds)
    assert found.floor == floor(trace, model_facts(shape), GIVEN)
    assert found.efficiency == pytest.approx(found.tokens_per_second / found.floor.tokens_per_second)
    assert (found.lag, found.graphs, found.breakdown, found.peers) == (0, False, None, ())
    assert trace.meta.clock == "alone"
    assert "Output token throughput (tok/s):" in found.table()


def test_it_can_be_written_as_json(shape: LoadedModel) -> None:
    found = small(shape)
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(facts) >= {
        "tokens_per_second", "floor_tokens_per_second", "efficiency", "iterations", "seconds", "seconds_range",
        "device", "peers", "model", "slots", "requests", "policy", "lag", "block_size", "kv_blocks", "rates",
        "breakdown", "versions", "date",
    }  # fmt: skip
    assert facts["rates"] == {"bandwidth": 1e10, "flops": 1e11}
    assert facts["seconds_range"] == [min(found.runs), max(found.runs)]
    assert facts["efficiency"] == pytest.approx(facts["tokens_per_second"] / facts["floor_tokens_per_second"])


@pytest.mark.parametrize("lag", [0, 1])
def test_every_way_to_run_gives_the_same_tokens(shape: LoadedModel, lag: int) -> None:
    work = synthetic(6, Uniform(1, 8), prompt_tokens=5, vocabulary=shape.vocabulary)
    options: dict[str, Any] = {"workload": work, "slots": 2, "repeats": 1, "rates": GIVEN}
    eager = bench(shape, lag=lag, **options)
    graphs = bench(shape, lag=lag, graphs=True, compiled=False, **options)
    static = bench(shape, "static", **options)
    assert (graphs.graphs, graphs.lag, eager.lag) == (True, lag, lag)
    assert eager.trace.requests.tokens == graphs.trace.requests.tokens == static.trace.requests.tokens
    assert eager.iterations == graphs.iterations < static.iterations, "forced lengths: a lag costs no iteration"


def test_ends_that_are_seen_late_cost_iterations(tiny: LoadedModel) -> None:
    options: dict[str, Any] = {"workload": "tasks", "requests": 4, "slots": 2, "repeats": 1, "rates": GIVEN}
    now, late = bench(tiny, lag=0, **options), bench(tiny, lag=1, **options)
    assert now.trace.requests.tokens == late.trace.requests.tokens
    assert now.iterations < late.iterations


def test_the_executor_is_made_once(shape: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made, honest = [], ModelExecutor.__init__

    def counted(self: ModelExecutor, *arguments: Any, **options: Any) -> None:
        made.append(self)
        honest(self, *arguments, **options)

    monkeypatch.setattr(ModelExecutor, "__init__", counted)
    small(shape, repeats=3)
    assert len(made) == 1


@pytest.mark.parametrize("record", [True, False])
def test_runs_are_recorded_or_not(shape: LoadedModel, record: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, honest = [], Recorder.add

    def counted(self: Recorder, event: Any, *more: Any) -> None:
        recorded.append(event)
        honest(self, event, *more)

    monkeypatch.setattr(Recorder, "add", counted)
    found = small(shape, record=record, repeats=3)
    assert found.recorded is record
    assert len(recorded) == found.iterations * (3 if record else 1), "not recorded: one more run, for the floor"
    assert found.trace.output_tokens == found.output_tokens


def test_your_own_workload_and_policy(shape: LoadedModel) -> None:
    work = synthetic(3, 4, prompt_tokens=3, vocabulary=shape.vocabulary)
    found = bench(shape, cbviz.Static(), workload=work, slots=2, repeats=1, rates=GIVEN)
    assert (found.requests, found.output_tokens, found.iterations) == (3, 12, 8)
    assert found.policy == "static"


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "options",
    [
        {"requests": 0}, {"requests": 2.5}, {"slots": -1}, {"slots": True}, {"repeats": 0}, {"seed": -1},
        {"block_size": 0}, {"kv_blocks": 0}, {"prompt_tokens": 0}, {"max_new_tokens": "many"}, {"lag": 2},
        {"workload": "work"}, {"policy": "rushed"}, {"peers": ["vllm"]}, {"peers": "transformers-cb"},
        {"peers": ["transformers-cb"]}, {"kv_blocks": 1}, {"max_new_tokens": 400}, {"workload": "yardstick"},
        {"workload": "tasks", "prompt_tokens": None, "max_new_tokens": None},
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused_in_one_sentence(shape: LoadedModel, options: dict[str, Any]) -> None:
    with pytest.raises(CbvizError) as refused:
        small(shape, **options)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_errors_have_their_types(tiny: LoadedModel) -> None:
    with pytest.raises(ModelError):
        bench("no-such-model")
    with pytest.raises(PolicyError):
        bench(tiny, "rushed")
    with pytest.raises(WorkloadError, match="'exponential' has the same lengths"):
        bench(tiny, workload="yardstick")
    with pytest.raises(WorkloadError, match=r"have (a fixed length|fixed lengths)"):
        bench(tiny, workload="tasks", prompt_tokens=5)
    with pytest.raises(WorkloadError, match="not both"):
        bench(tiny, workload=synthetic(2, 3, prompt_tokens=3, vocabulary=90), requests=5)


# ---------------------------------------------------------------------- workloads by name


def test_what_suits_a_model(tiny: LoadedModel, shape: LoadedModel) -> None:
    assert (suitable(tiny), suitable(shape)) == ("tasks", "exponential")
    for name in ("exponential", "truncated", "tasks"):
        assert name in WORKLOADS
        assert len(named_workload(name, tiny, requests=3)) == 3
    article = named_workload("truncated", shape, requests=40)
    assert {len(request.prompt) for request in article} == {512}
    assert {request.max_new_tokens for request in article} == {1536}
    assert max(token for request in article for token in request.prompt) < shape.vocabulary


# ---------------------------------------------------------------------- memory


def test_blocks_are_what_the_workload_can_use(shape: LoadedModel) -> None:
    work = synthetic(10, 20, prompt_tokens=13, vocabulary=shape.vocabulary)  # 33 positions: 3 blocks of 16
    assert choose_kv_blocks(shape, work, slots=4, block_size=16) == 12
    assert choose_kv_blocks(shape, work, slots=64, block_size=16) == 30, "never more than one slot a request"
    assert choose_kv_blocks(shape, work, slots=4, block_size=16, kv_blocks=7) == 7


def test_blocks_are_what_the_memory_holds(shape: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    work = synthetic(10, 20, prompt_tokens=13, vocabulary=shape.vocabulary)
    a_block, reserve = 16 * shape.kv_bytes_per_token, capacity.LEAST_RESERVE["cpu"]
    monkeypatch.setattr(capacity, "free_bytes", lambda _: reserve + 5 * a_block + 1)
    assert choose_kv_blocks(shape, work, slots=4, block_size=16) == 5
    found = bench(shape, workload=work, slots=4, repeats=1, rates=GIVEN)
    assert found.kv_blocks == 5
    assert found.output_tokens == 200, "fewer blocks: fewer run at once, and all are served"
    assert found.trace.iterations.idle_slots.max() == 3


def test_lanes_that_take_turns_share_the_memory(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    a_block, reserve = 16 * tiny.kv_bytes_per_token, capacity.LEAST_RESERVE["cpu"]
    monkeypatch.setattr(capacity, "free_bytes", lambda _: reserve + 90 * a_block)
    options: dict[str, Any] = {"slots": 8, "requests": 6, "live": False, "run": False}
    assert cbviz.race(tiny, repeats=1, **options).kv_blocks == 90, "one lane after the other, in the same cache"
    assert cbviz.race(tiny, repeats=0, **options).kv_blocks == 45
    assert cbviz.race(tiny, ["static", "orca", "tgi"], repeats=0, **options).kv_blocks == 30
    with pytest.raises(
        CapacityError, match=r"2 KV caches of 46 blocks each × 16 positions × .* do not fit: .* 45 blocks"
    ):
        cbviz.race(tiny, repeats=0, kv_blocks=46, **options)


@pytest.mark.parametrize("options", [{"kv_blocks": 10**8}, {"kv_tokens": 4 * 10**12}, {"slots": 10**8}])
def test_races_and_playgrounds_too_large_are_refused(tiny: LoadedModel, options: dict[str, Any]) -> None:
    with pytest.raises(
        CapacityError, match=r"blocks fit\.$|slots must be a whole number of at most 4,096, not 100000000\.$"
    ):
        cbviz.race(tiny, requests=4, live=False, **options)


def test_a_playground_takes_what_the_memory_holds(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "free_bytes", lambda _: capacity.LEAST_RESERVE["cpu"] + 2**10)
    with pytest.raises(CapacityError, match=r"do not fit"):
        cbviz.play(tiny, live=False)


def test_too_much_is_refused_before_anything_is_allocated(shape: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("something was allocated or measured")

    monkeypatch.setattr(KVCache, "__init__", forbidden)
    monkeypatch.setattr(rates, "_bandwidth", forbidden)
    work = synthetic(4, 20, prompt_tokens=13, vocabulary=shape.vocabulary)
    a_block, reserve = 16 * shape.kv_bytes_per_token, capacity.LEAST_RESERVE["cpu"]
    monkeypatch.setattr(capacity, "free_bytes", lambda _: reserve + 2 * a_block)
    with pytest.raises(
        CapacityError, match=rf"3 blocks × 16 positions × {shape.kv_bytes_per_token:,} bytes.*2 blocks fit"
    ):
        bench(shape, workload=work, slots=4)
    with pytest.raises(CapacityError, match="9 blocks × 16"):
        bench(shape, workload=work, slots=4, kv_blocks=9)
    with pytest.raises(CapacityError, match=r"needs 933 positions .* context of \d+"):
        bench(shape, workload=synthetic(4, 920, prompt_tokens=13, vocabulary=shape.vocabulary), slots=4)


# ---------------------------------------------------------------------- facts and rates


def test_an_embedding_table_is_not_read_unless_it_is_the_output_layer(tiny: LoadedModel, shape: LoadedModel) -> None:
    assert model_facts(tiny).weight_bytes == tiny.weight_bytes, "tied"
    table = shape.model.get_input_embeddings().weight
    assert model_facts(shape).weight_bytes == shape.weight_bytes - table.numel() * 4
    opt = LoadedModel("opt", make("opt"), None, CPU, torch.float32)
    positions = opt.model.model.decoder.embed_positions.weight
    tokens = 0 if opt.model.config.tie_word_embeddings else opt.model.get_input_embeddings().weight.numel()
    assert model_facts(opt).weight_bytes == opt.weight_bytes - 4 * (positions.numel() + tokens)
    assert model_facts(opt).parameters == opt.parameters


def test_rates_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rates.COPY_BYTES, "cpu", 2**20)
    monkeypatch.setitem(rates.SQUARE, "cpu", 64)
    found = measured_rates(CPU, torch.float32)
    assert 1e6 < found.bandwidth < 1e14
    assert 1e6 < found.flops < 1e15
    calls = []
    rates.seconds(lambda: calls.append(1) or torch.zeros(1), CPU)
    assert len(calls) == rates.WARM_UP + rates.TIMED


# ---------------------------------------------------------------------- where the time goes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_decode_kernel", "attention"),
        ("_place_kernel", "attention"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, cutlass::bfloat16_t>>", "attention"),
        ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", "gemm"),
        ("_gated_kernel", "gemm"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas", "gemm"),
        ("void cublasLt::splitKreduce_kernel<32, 16>", "gemm"),
        ("triton_red_fused_add_mean_mul_pow_rsqrt_0", "other"),
        ("triton_per_fused__to_copy__unsafe_view_add_mean_mm_mul_pow_rsqrt_t_view_5", "gemm"),
        ("Memcpy HtoD (Pinned -> Device)", "other"),
    ],
)
def test_kernels_are_known_by_name(name: str, expected: str) -> None:
    assert kind(name) == expected


def test_shares_add_up_to_the_time_from_first_to_last() -> None:
    kernels = [
        Kernel("gemm", 30, 70),  # half of it beside the one before
        Kernel("_decode_kernel", 10, 50),
        Kernel("triton_add", 90, 100),
        Kernel("triton_add", 100, 110),
        Kernel("gemm", 92, 94),  # hidden
    ]
    found = breakdown(kernels, iterations=2)
    assert found is not None
    assert (found.attention, found.gemm, found.other, found.gaps) == pytest.approx((0.4, 0.2, 0.2, 0.2))
    assert found.step_seconds == pytest.approx(50e-6)
    assert found.kernels[0] == ("_decode_kernel", pytest.approx(0.4), 0.5)
    assert {name: calls for name, _, calls in found.kernels}["gemm"] == 1
    assert breakdown([], 3) is None


def test_gaps_are_those_of_the_same_iterations_without_the_profiler() -> None:
    """The profiler has stretched two iterations of 100 µs, of which kernels fill 120, to 400 µs."""
    kernels = [Kernel("gemm", 0, 80), Kernel("_decode_kernel", 340, 400), Kernel("triton_add", 350, 380)]
    found = breakdown(kernels, 2, 200e-6)
    assert found is not None
    assert found.step_seconds == pytest.approx(100e-6)
    assert (found.attention, found.gemm, found.other, found.gaps) == pytest.approx((0.3, 0.4, 0.0, 0.3))
    slower = breakdown(kernels, 2, 100e-6)  # kernels that took longer under the profiler than all of it without
    assert slower is not None
    assert slower.gaps == 0
    assert slower.attention + slower.gemm == pytest.approx(1)


# ---------------------------------------------------------------------- peers


def job(loaded: LoadedModel, work: Workload) -> PeerJob:
    return PeerJob.of(loaded.name, work, device="cpu", dtype="float32", slots=2, repeats=2)


@pytest.mark.parametrize("peer", [baseline_process.static, baseline_process.continuous])
@pytest.mark.parametrize("forced", [True, False])
def test_peers_count_what_was_asked_for(tiny: LoadedModel, peer: Any, forced: bool) -> None:
    """Our engine and theirs count the same tokens, whether lengths are forced or the model ends its answers."""
    own = load("tiny", device="cpu")  # its attention is changed
    name, options = ("exponential", {"prompt_tokens": 6, "max_new_tokens": 9}) if forced else ("tasks", {})
    work = named_workload(name, tiny, requests=3, **options)  # type: ignore[arg-type]
    found = peer(own, job(tiny, work))
    ours = bench(tiny, workload=work, slots=2, repeats=1, rates=GIVEN)
    assert found["output_tokens"] == ours.output_tokens
    assert len(found["runs"]) == 2
    assert all(0 < seconds < math.inf for seconds in found["runs"])


def test_the_process_of_a_peer(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = named_workload("exponential", tiny, requests=3, prompt_tokens=4, max_new_tokens=5)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asdict(job(tiny, work)))))
    assert baseline_process.main("transformers-static") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["output_tokens"] == sum(request.output_length or 0 for request in work)


def test_wanted_tokens() -> None:
    assert baseline_process.wanted([5, 6, 1, 0, 0], 9, (1,)) == 3, "END counts, padding does not"
    assert baseline_process.wanted([5, 6, 7, 8], 3, (1,)) == 3, "the batch ran on for another request"
    assert baseline_process.wanted([1, 1, 1], 2, ()) == 2
    assert baseline_process.wanted([], 2, ()) == 0


def test_a_peer_that_fails_says_so_in_one_line(shape: LoadedModel) -> None:
    work = synthetic(2, 3, prompt_tokens=3, vocabulary=90)
    found = run_peer("transformers-static", job(shape, work), SilentProgress())
    assert found.runs == ()
    assert "unknown shape 'small'" in found.error
    assert found.to_json() == {"name": "transformers-static", "error": found.error}


def test_work_that_no_peer_runs() -> None:
    check_peers([], object())
    with pytest.raises(CbvizError, match="give its name"):
        check_peers(["transformers-cb"], object())
    sampled = Workload("one", (Request(0, (5,), 3, sampling=Sampling(temperature=1)),))
    mixed = Workload("two", (Request(0, (5,), 3), Request(1, (5,), 3, output_length=2)))
    for work in (sampled, mixed):
        with pytest.raises(CbvizError, match=r"peers (run only|need a workload)"):
            PeerJob.of("tiny", work, device="cpu", dtype="float32", slots=1, repeats=1)


# ---------------------------------------------------------------------- the command

SMALL = ("bench", "--device", "cpu", "--requests", "3", "--slots", "2", "--repeats", "1")


@pytest.fixture(autouse=True)
def _quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rates.COPY_BYTES, "cpu", 2**20)
    monkeypatch.setitem(rates.SQUARE, "cpu", 64)


def test_the_command_prints_one_object(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main([*SMALL, "--json", "--save", str(tmp_path / "run.cbviz")]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["model"], facts["slots"], facts["requests"], facts["policy"]) == ("tiny", 2, 3, "continuous")
    trace = cbviz.load(tmp_path / "run.cbviz")
    assert len(trace.iterations) == facts["iterations"]
    assert all("".join(pieces) for pieces in trace.requests.pieces), "the answers as text"


def test_the_command_speaks_to_people(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "--policy", "static", "--no-record"]) == 0
    out = capfd.readouterr().out
    for part in (
        "Serving Benchmark Result",
        "tokens/s.",
        "The floor of this run is",
        "tiny in float32 on cpu, 2 slots",
    ):
        assert part in out


@pytest.mark.parametrize(
    "wrong",
    [
        ("--policy", "rushed"), ("--workload", "yardstick"), ("--slots", "0"), ("--lag", "2"), ("--kv-blocks", "1"),
        ("--peer", "vllm"), ("--model", "no-such-model"), ("--save", "nowhere/run.cbviz"), ("--prompt-tokens", "3"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_input_gives_exit_code_2_and_one_sentence(
    wrong: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main([*SMALL, *wrong])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("cbviz: ")
    assert err.endswith(".\n")
    assert err.count("\n") == 1


def test_a_benchmark_can_be_asked_why(tiny: LoadedModel) -> None:
    """Also where prefixes are cached, for which the prompts must be known."""
    result = bench(tiny, "vllm_v1", requests=6, slots=2, repeats=1, rates=GIVEN, prefix_cache=True)
    (lane,) = result.why(iteration=1).lanes
    assert lane.policy == "vllm_v1"
    assert [answer.verdict for answer in lane.answers] == ["waits"] * 4
    assert all("slot" in answer.reason for answer in lane.answers)


def test_backend_and_graphs_are_not_both_given(shape: LoadedModel) -> None:
    with pytest.raises(CbvizError, match=r"^give backend or graphs, not both\.$"):
        bench(shape, requests=2, backend="sdpa", graphs=False)

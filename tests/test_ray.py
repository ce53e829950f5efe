"""Sweeps and replicas on a Ray of our own, and on a cluster that another process started; skipped without Ray."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cbviz.cli import main
from cbviz.errors import SweepError
from cbviz.models import load
from cbviz.run import ray_cluster
from cbviz.run.progress import SilentProgress
from cbviz.run.replicas import replicate
from cbviz.run.sweep import sweep
from cbviz.workload import task_workload
from tests.sweep_cells import KillsItsProcess, always_dies, dies_once, double, fails_at_two

ROOT = Path(__file__).parents[1]
GRID = {"x": [1, 2, 3]}
TOKEN, WRONG = "0123456789abcdef" * 4, "f" * 64
"""What the tests' cluster wants from a driver, and what it refuses."""
STARTS, START_SECONDS = 3, 600
AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")
"""Where these choose their own ports they have 15 seconds to say so (ray-project/ray#65983); a busy machine takes
longer."""


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray itself, quiet; its workers find the tests' modules."""
    found = pytest.importorskip("ray", reason="Ray is not installed (cbviz[ray])")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "600")  # a busy machine exceeds the minute that is usual
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield found
        found.shutdown()


@pytest.mark.parametrize(("why", "said"), [("", "start"), ("it took too long", r"start \(it took too long\)")])
def test_a_connection_that_fails_half_way_leaves_nothing_behind(
    ray: Any, monkeypatch: pytest.MonkeyPatch, why: str, said: str
) -> None:
    """Ray turns its client's mode on before it connects, and then answers each HOST:PORT with an AssertionError."""
    hook = importlib.import_module("ray._private.client_mode_hook")
    for check in ("_check_reach", "_check_answer"):
        monkeypatch.setattr(ray_cluster, check, lambda *given: None)

    def init(**given: Any) -> None:
        hook._explicitly_enable_client_mode()
        raise ConnectionAbortedError(f"Initialization failure from server:\n{why}")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SweepError, match=f"cluster at 'ray://a:1' answers, but its server .* did not {said}; .*"):
        sweep(GRID, "ray://a:1", work=double)
    assert not hook.is_client_mode_enabled


@pytest.fixture(scope="module")
def cluster(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """HOST:PORT and ray://HOST:PORT of a cluster with two CPUs that a process of its own runs."""
    for _ in range(STARTS):
        port, client, *agents = (free_port() for _ in range(2 + len(AGENTS)))
        words = ["--head", "--block", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
        host = ray.util.get_node_ip_address()  # Ray takes no 127.0.0.1 for a node
        words += [f"--node-ip-address={host}", f"--port={port}", f"--ray-client-server-port={client}"]
        words += [f"--{name}-port={number}" for name, number in zip(AGENTS, agents, strict=True)]
        head = Path(sys.executable).with_name("ray")
        log = (tmp_path_factory.mktemp("ray") / "head.log").open("wb")
        process = subprocess.Popen([head, "start", *words], stdout=log, stderr=log)
        try:
            if _answers(process, f"{host}:{port}"):
                yield f"{host}:{port}", f"ray://{host}:{client}"
                return
        finally:
            process.terminate()
            process.wait(START_SECONDS)
    pytest.fail("`ray start` did not come up")


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until a cluster takes a sweep; False if its process ends first."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            sweep({"x": [1]}, address, work=double)
        except SweepError:
            time.sleep(0.5)
        else:
            return True
    return False


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ------------------------------------------------------------------ one of our own


def test_a_ray_of_our_own_gives_the_same_table_and_is_shut_down(ray: Any, tmp_path: Path) -> None:
    there = sweep(GRID, "local", workers=1, num_runs=2, work=double, plus=3, output_dir=tmp_path)
    assert there.to_csv() == sweep(GRID, num_runs=2, work=double, plus=3).to_csv()
    assert (tmp_path / "results.csv").read_text() == there.to_csv()
    assert not ray.is_initialized()


def test_a_ray_of_our_own_leaves_no_trace(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token in the home folder, which every later `ray start` would demand; the environment is as it was."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    before = dict(os.environ)
    for _ in range(2):  # the second has another token than the first
        assert [row["y"] for row in sweep(GRID, "local", workers=1, work=double).rows] == [2, 4, 6]
        assert dict(os.environ) == before
    assert not (tmp_path / ".ray").exists()


def test_a_ray_that_does_not_start_is_one_sentence(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[dict[str, Any]] = []

    def fails(**options: Any) -> None:
        tried.append(options)
        raise RuntimeError("The current node timed out during startup.\nMore.")

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(SweepError, match=r"Ray could not be started on this machine: The current node timed out"):
        sweep(GRID, "local", work=double)
    assert len(tried) == 3


# ------------------------------------------------------------------ a cluster that runs already


def test_a_cluster_is_used_by_its_address_and_left_running(
    ray: Any, cluster: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HOST:PORT, "auto" and ray://HOST:PORT; a worker that is lost on the way is replaced."""
    expected = sweep(GRID, num_runs=2, work=double, plus=3).to_csv()
    by_port, by_client = cluster
    monkeypatch.setenv("RAY_ADDRESS", by_port)
    for number, address in enumerate((by_port, "auto", by_client)):
        assert sweep(GRID, address, num_runs=2, work=double, plus=3).to_csv() == expected
        assert not ray.is_initialized()
        folder = tmp_path / str(number)
        folder.mkdir()
        found = sweep(GRID, address, work=dies_once, folder=str(folder))
        assert (folder / "died").exists()
        assert [row["y"] for row in found.rows] == [1, 2, 3]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG},
    ],
    ids=["nothing", "disabled", "no token", "another token"],
)
def test_a_cluster_that_refuses_us_is_one_sentence(
    given: dict[str, str], ray: Any, cluster: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It names the cause and the mend, and Ray, which would try for half a minute, is not asked to connect."""
    by_port, by_client = cluster
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", by_port)
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", lambda **options: pytest.fail("Ray itself would try for half a minute"))
        for address in (by_port, by_client, "auto"):
            with pytest.raises(SweepError) as refused:
                sweep(GRID, address, work=double)
            assert str(refused.value) == (
                f"the Ray cluster at {address!r} refuses us, for it wants a token: set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN to the token that the cluster was started with (or keep it in ~/.ray/auth_token)."
            )
    home = tmp_path / ".ray"
    home.mkdir()
    (home / "auth_token").write_text(TOKEN)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert [row["y"] for row in sweep(GRID, by_port, work=double).rows] == [2, 4, 6]  # as the sentence says


def test_failures_on_a_cluster_are_named(cluster: tuple[str, str]) -> None:
    found = sweep(GRID, cluster[0], work=fails_at_two)
    assert [row["error"] for row in found.rows] == ["", "two is", ""]
    found = sweep(GRID, cluster[0], work=always_dies)
    assert [row["error"][:28] for row in found.rows] == ["", "its worker was lost 3 times ", ""]


def test_a_connection_of_the_callers_own_is_used_and_kept(ray: Any, cluster: tuple[str, str]) -> None:
    ray.init(address=cluster[0], log_to_driver=False, logging_level="error")
    try:
        assert [row["y"] for row in sweep(GRID, "auto", work=fails_at_two).rows if not row["error"]] == [1, 3]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_stop_on_a_cluster_keeps_what_was_done_and_another_place_resumes(
    cluster: tuple[str, str], tmp_path: Path
) -> None:
    class Interrupting(SilentProgress):
        def advance(self, title: str, steps: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    first = sweep(GRID, cluster[0], work=double, output_dir=tmp_path, progress=Interrupting())
    assert (first.stopped, len(first)) == (True, 1)
    second = sweep(GRID, work=double, output_dir=tmp_path, resume=True)
    assert second.to_csv() == sweep(GRID, work=double).to_csv()


def test_the_command_runs_on_a_cluster(
    cluster: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "policy=static,vllm_v1", "slots=4,8", "requests=30", "rate=9", "--num-runs", "2", "--quiet"]
    assert main([*words, "--address", cluster[0], "--output-dir", str(tmp_path / "there")]) == 0
    assert main([*words, "--output-dir", str(tmp_path / "here")]) == 0
    capsys.readouterr()
    here, there = ((tmp_path / name / "results.csv").read_bytes() for name in ("here", "there"))
    assert here == there
    assert here.count(b"\n") == 9


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (None, "refused"),
        (b"", "timed out"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "what listens there is something else"),
    ],
    ids=["nothing listens", "silence", "a web server"],
)
def test_an_address_without_ray_is_refused_in_seconds(
    ray: Any, said: bytes | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray itself would try for half a minute"))
    monkeypatch.setattr(ray_cluster, "REACH_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if said is None:
            listening.close()
        else:
            threading.Thread(target=_speak, args=(listening, said), daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")  # as of a cluster that is gone
        for address in (f"ray://127.0.0.1:{port}", f"127.0.0.1:{port}", "auto"):
            with pytest.raises(SweepError, match=f"no Ray cluster answers at .*{complaint}"):
                sweep(GRID, address, work=double)


def test_a_server_of_something_else_that_speaks_http_2_is_refused(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is unknown to it."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed (cbviz[ray])")
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray itself would try for half a minute"))
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for address in (f"ray://127.0.0.1:{port}", f"127.0.0.1:{port}"):
            with pytest.raises(SweepError, match=r"no Ray cluster answers at .*: what listens there is something else"):
                sweep(GRID, address, work=double)
    finally:
        server.stop(0)


def _speak(listening: socket.socket, said: bytes) -> None:
    """Say the same on every connection, and keep it open."""
    links = []
    with contextlib.suppress(OSError):
        while True:
            links.append(listening.accept()[0])
            links[-1].sendall(said)


@pytest.mark.parametrize("address", ["127.0.0.1:port", "ray://127.0.0.1:0", "ray://127.0.0.1:99999", "here:", "here"])
def test_an_address_that_is_none_is_one_sentence(ray: Any, address: str) -> None:
    with pytest.raises(SweepError, match="an address of Ray is"):
        sweep(GRID, address, work=double)


def test_no_cluster_at_all_is_refused(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", _finds_none)
    monkeypatch.setattr(ray_cluster, "_detected", lambda: "")
    with pytest.raises(SweepError, match=r"no Ray cluster answers at 'auto': Could not find any running Ray"):
        sweep(GRID, "auto", work=double)


def test_another_error_of_ray_is_not_taken_for_an_unreachable_cluster(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(**options: Any) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.0.0")

    monkeypatch.setattr(ray, "init", differs)
    monkeypatch.setattr(ray_cluster, "_detected", lambda: "")  # Ray remembers the address of a cluster that is gone
    with pytest.raises(SweepError, match=r"the Ray cluster at 'auto' cannot be used: Version mismatch"):
        sweep(GRID, "auto", work=double)


def _finds_none(**options: Any) -> None:
    raise ConnectionError("Could not find any running Ray instance.\nStart one.")


# ------------------------------------------------------------------ replicas


def test_replicas_serve_the_same_on_a_cluster(cluster: tuple[str, str], tmp_path: Path) -> None:
    """Two actors with a CPU each; one that is killed costs no answer."""
    work = task_workload(load("tiny", device="cpu").encode, 10, seed=3, mean=12)
    expected = replicate(work, "tiny", slots=3, device="cpu").answers
    there = replicate(work, "tiny", slots=3, where="ray", device="cpu", address=cluster[0])
    assert there.answers == expected
    assert there.requests == (5, 5)
    policy = KillsItsProcess(str(tmp_path / "died"))
    found = replicate(work, "tiny", policy, slots=3, where="ray", device="cpu", address=cluster[0])
    assert found.answers == expected
    assert found.moved
    with pytest.raises(SweepError, match="3 replicas need 3 CPUs, and the Ray cluster has 2"):
        replicate(work, "tiny", replicas=3, where="ray", device="cpu", address=cluster[0])

"""What is compiled stays for the next start: where it lies, who decides, and what happens to a folder of no use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.cuda.layout import Shape
from cbviz.errors import CapacityError
from cbviz.models import compiler_cache, probes, trial
from cbviz.models.compiler_cache import PART, VARIABLES, keep_compiled, start_afresh, versions
from tests.shapes import make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process that has compiled nothing yet, with an empty cache folder; returns the folder of its compilers."""
    begin(monkeypatch)
    monkeypatch.setenv("CBVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"compiled-{versions()}"


def begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(compiler_cache, "_ours", [])
    monkeypatch.setattr(compiler_cache, "_tried", False)
    monkeypatch.setattr(compiler_cache, "_filled", False)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that the value of before comes back
        monkeypatch.delenv(variable)


def places() -> list[str | None]:
    return [os.environ.get(variable) for variable in VARIABLES]


def test_both_compilers_write_to_the_users_cache_by_versions(home: Path) -> None:
    import torch

    keep_compiled()
    assert places() == [str(home / "inductor"), str(home / "triton")]
    assert all(Path(place or "").is_dir() for place in places())
    assert torch.__version__.partition("+")[0] in home.name
    assert "cbviz-" in home.name


def test_what_the_user_has_set_is_obeyed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "mine"))
    keep_compiled()
    assert places() == [str(home / "inductor"), str(tmp_path / "mine")]
    begin(monkeypatch)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(tmp_path / "mine"))
    keep_compiled()
    assert places() == [str(tmp_path / "mine")] * 2
    assert not start_afresh(RuntimeError("damaged")), "a folder of the user's is never replaced"


@pytest.mark.parametrize("trouble", ["a file is there", "no such home"])
def test_a_folder_that_cannot_be_written_is_said_once(
    trouble: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CBVIZ_CACHE", str(tmp_path / "file") if "file" in trouble else "~no-such-user-here/x")
    with pytest.warns(RuntimeWarning, match="Compiled code is not kept for the next start: "):
        keep_compiled()
    assert places() == [None, None], "the compilers use their own folders, as before"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_compiled()
    assert not start_afresh(RuntimeError("damaged"))


def test_a_damaged_folder_is_replaced_once_and_only_if_an_earlier_start_filled_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_compiled()
    (home / "triton" / "kernel.json").write_text("{")
    assert not start_afresh(ValueError("half a kernel")), "this process has written it itself"
    begin(monkeypatch)
    keep_compiled()
    with pytest.warns(RuntimeWarning, match=r"seems to be damaged \(.*half a kernel\); it is compiled again"):
        assert start_afresh(ValueError("half a kernel"))
    assert list((home / "triton").iterdir()) == []
    assert places() == [str(home / "inductor"), str(home / "triton")]
    assert [path.name for path in home.parent.iterdir()] == [home.name], "and nothing is left of it"
    assert not start_afresh(ValueError("half a kernel")), "the second time it is no damage"


def test_a_folder_that_another_process_has_replaced_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "inductor" / "ab").mkdir(parents=True)
    keep_compiled()
    home.rename(home.with_name("elsewhere"))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert start_afresh(ValueError("gone"))
    assert (home / "inductor").is_dir()


def test_processes_that_begin_at_once_share_the_folder(tmp_path: Path) -> None:
    code = "from cbviz.models.compiler_cache import keep_compiled as k; import os; k(); print(os.environ['{}'])".format(
        "TRITON_CACHE_DIR"
    )
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["CBVIZ_CACHE"] = str(tmp_path)
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    said = {one.communicate()[0] for one in both}
    assert [one.returncode for one in both] == [0, 0]
    assert said == {f"{tmp_path / f'compiled-{versions()}' / 'triton'}\n".encode()}


def test_what_other_versions_left_goes_after_a_while(home: Path) -> None:
    ages = {
        "compiled-a": 100,
        "compiled-b": 10,
        f"compiled-x{PART}": 2,
        f"compiled-y{PART}": 0,
        "model": 999,
    }
    for name, days in ages.items():
        (home.parent / name).mkdir(parents=True)
        os.utime(home.parent / name, (time.time() - days * 86_400,) * 2)
    keep_compiled()
    left = {path.name for path in home.parent.iterdir()}
    assert left == {home.name, "compiled-b", f"compiled-y{PART}", "model"}


def test_a_damaged_kernel_of_the_first_trial(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def doubled(device: object) -> str:
        calls.append(os.environ["TRITON_CACHE_DIR"])
        if len(calls) == 1:
            raise RuntimeError("device kernel image is invalid")
        return "3.7"

    monkeypatch.setattr(trial, "doubled", doubled)
    (home / "triton" / "abc").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="device kernel image is invalid"):
        assert probes.TorchProbes().triton(0) == "3.7"
    assert calls == [str(home / "triton")] * 2
    calls.clear()
    with pytest.raises(RuntimeError, match="image is invalid"):  # not the cache, then
        probes.TorchProbes().triton(0)


@pytest.mark.parametrize("failing", ["once", "always", "memory"])
def test_capturing_compiles_again_what_cannot_be_loaded(
    failing: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pool = make("llama"), BlockPool(8, 4)
    (home / "inductor" / "ab").mkdir(parents=True)
    keep_compiled()
    real, tried = GraphExecutor._captured, []

    def captured(self: GraphExecutor, shape: Shape, sampled: bool) -> object:
        tried.append(shape)
        if failing == "memory":
            raise CapacityError("full")
        if len(tried) == 1 or failing == "always":
            raise SyntaxError("unterminated string in a compiled file")
        return real(self, shape, sampled)

    monkeypatch.setattr(GraphExecutor, "_captured", captured)
    if failing == "once":
        with pytest.warns(RuntimeWarning, match="damaged"):
            made = GraphExecutor(model, slots=2, pool=pool, compiled=False)
        assert tried[0] == tried[1]
        assert made.ready == len(set(tried))
    elif failing == "always":
        with pytest.warns(RuntimeWarning, match="damaged"), pytest.raises(SyntaxError):
            GraphExecutor(model, slots=2, pool=pool, compiled=False)
        assert len(tried) == 2
    else:
        with pytest.raises(CapacityError):
            GraphExecutor(model, slots=2, pool=pool, compiled=False)
        assert len(tried) == 1, "a full device is not the cache's fault"

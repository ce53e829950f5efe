"""Every function that reads a file answers a path that leads to none with one sentence, and never blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cbviz
import cbviz.models
from cbviz.adapters.vllm import lines
from cbviz.errors import CbvizError
from cbviz.models.cache import cache_folder
from cbviz.models.smollm2 import WHEEL, find_wheel
from cbviz.paths import existing_file, read_file
from cbviz.run.doctor import runs_in
from cbviz.simulator import Work, load_cost
from cbviz.workload import read_prompts, read_results, read_traffic

WORK = Work([0.0], [4], [2])


def swept(path: Any, name: str) -> object:
    """Resume a sweep in a folder in which one of the files is another one: a link to it, or itself."""
    folder = Path("sweep of " + name)
    grid = {"slots": [1]}
    cbviz.sweep(grid, requests=2, output_tokens=2, output_dir=folder)
    (folder / name).unlink()
    (folder / name).symlink_to(Path.cwd() / path)
    return cbviz.sweep(grid, requests=2, output_tokens=2, output_dir=folder, resume=True)


def a_cell(path: Any) -> None:
    """A sweep over traces: the table says why the cell failed."""
    [row] = cbviz.sweep({"trace": [path]}, requests=2).rows
    assert row["error"]
    raise CbvizError(f"{row['error']}.")


def followed(path: Any) -> list[Any]:
    """Follow lines that never come: a file may still be made, so that one is waited for."""
    found = list(lines.follow(path, patience=0.1))
    raise CbvizError("nothing came.") if not found else AssertionError


READERS: dict[str, Callable[[Any], object]] = {
    "existing_file": existing_file,
    "read_file": lambda path: read_file(path, most=10),
    "load": cbviz.load,
    "read_traffic": read_traffic,
    "read_results": read_results,
    "read_prompts": read_prompts,
    "doctor": cbviz.doctor,
    "doctor of a trace": lambda path: cbviz.doctor(f"{path}.cbviz" if isinstance(path, str) and path else path),
    "runs_in": runs_in,
    "load_cost": load_cost,
    "simulate": lambda path: cbviz.simulate(WORK, "static", cost=path, slots=1),
    "forecast": lambda path: cbviz.forecast(WORK, "static", cost=path, slots=1),
    "what if": lambda path: cbviz.doctor(cbviz.recorded("smollm2-8")[0], cost=path),
    "a sweep's traces": a_cell,
    "models.load": cbviz.models.load,
    "lines of vLLM": lines.read,
    "lines of vLLM, live": followed,
    "wheel": WHEEL.check,
}
PLANS = {"plan of a sweep": "sweep.json", "rows of a sweep": "cells.jsonl"}
LONG = "n" * 300
PATHS = {
    "300 letters": LONG,
    "300 letters on the way": f"{LONG}/x",
    "5,000 letters": "long/" * 1_000,
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "an escape code": "\x1b[31m/\x1b[2J/x",
    "empty": "",
    "no such home": "~nobodyhere/x",
    "nothing there": "nothing",
    "below a file": "bytes/x",
    "a folder": "folder",
    "a link to itself": "circle",
    "a pipe": "pipe",
    "an endless device": "/dev/zero",
    "a full device": "/dev/full",
    "not UTF-8": "bytes",
    "no permission": "locked",
    "in a folder without permission": "locked folder/x",
    "a number": 7,
    "None": None,
    "bytes": b"bytes",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files above. Permissions are denied by hand: root is denied none."""
    monkeypatch.chdir(tmp_path)
    Path("bytes").write_bytes(b"\xff\xfe{\x00\n" * 40)
    Path("bytes.cbviz").write_bytes(b"\xff\xfe{\x00\n" * 40)
    Path("locked").write_text("{}")
    Path("folder").mkdir()
    Path("circle").symlink_to("circle")
    os.mkfifo("pipe")
    denied = PermissionError(13, "Permission denied")

    def refuse(original: Callable[..., Any], where: Callable[[str], bool]) -> Callable[..., Any]:
        def asked(path: Any, *rest: Any, **named: Any) -> Any:
            if where(str(path)):
                raise denied
            return original(path, *rest, **named)

        return asked

    monkeypatch.setattr(Path, "open", refuse(Path.open, lambda path: "locked" in path))
    monkeypatch.setattr(Path, "stat", refuse(Path.stat, lambda path: "locked folder" in path))
    monkeypatch.setattr(os, "open", refuse(os.open, lambda path: "locked" in path))
    return tmp_path


def in_time(call: Callable[[], object]) -> None:
    """Call something that must raise a CbvizError with one printable sentence, and not wait for a writer."""
    found: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            found.append(None)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "it waits for something that never comes"
    [error] = found
    assert isinstance(error, CbvizError), repr(error)
    said = str(error)
    assert said.endswith(".")
    assert said.isprintable()
    assert len(said) < 600
    assert "Errno" not in said


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_leads_to_no_file_is_one_sentence(reader: str, name: str, here: Path) -> None:
    if (reader, name) in {
        ("existing_file", "not UTF-8"),
        ("read_file", "not UTF-8"),
        ("existing_file", "no permission"),
        ("what if", "None"),
        ("a sweep's traces", "None"),
    }:
        return  # they read bytes, and the first one reads none; None asks for no calibration and no trace
    in_time(lambda: READERS[reader](PATHS[name]))


@pytest.mark.parametrize(
    "name", ["nothing there", "a folder", "a link to itself", "a pipe", "an endless device", "not UTF-8"]
)
@pytest.mark.parametrize("kept", PLANS)
def test_the_files_of_a_sweep_that_are_none(kept: str, name: str, here: Path) -> None:
    in_time(lambda: swept(PATHS[name], PLANS[kept]))


@pytest.mark.parametrize("name", ["300 letters", "a folder", "a pipe", "no such home", "no permission", "not UTF-8"])
def test_the_wheel_that_a_variable_names(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBVIZ_SMOLLM2_WHEEL", str(PATHS[name]))
    in_time(lambda: find_wheel(here, lambda *_: None))


def test_the_cache_that_a_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBVIZ_CACHE", "~nobodyhere/x")
    with pytest.raises(CbvizError, match=r"CBVIZ_CACHE .*there is no home"):
        cache_folder()

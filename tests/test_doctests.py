"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "cbviz").rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)
MUST_HAVE = {"measure", "models", "policies", "trace", "workload"}


def test_rooms_that_teach_have_examples() -> None:
    assert {module.split(".")[1] for module in MODULES} >= MUST_HAVE


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples may write into the working folder, which is a temporary one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    result = doctest.testmod(importlib.import_module(module), report=True)
    assert result.attempted, f"{module} shows an example that doctest does not find."
    assert not result.failed

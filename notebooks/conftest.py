"""What `pytest --nbval` does behind a cell that fails: the rest of that notebook is skipped, and the report says why.

Cells of a notebook share a kernel. Where one raises or runs out of time, those behind it lack its names and would all
fail without saying anything new. A cell whose output merely differs has run, so the cells behind it run as well.
"""

from __future__ import annotations

from typing import Any

import pytest

OUTPUT_TIMEOUT = 60.0
"""Seconds in which a kernel hands over what a finished cell has shown; nbval's five are few on a busy machine."""
DIFFERS = "Cell outputs differ"
"""How nbval begins when a cell ran and showed something else."""

_failed = pytest.StashKey[str]()


def _is_cell(item: pytest.Item) -> bool:
    return hasattr(item, "cell_num")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every cell's outputs time to arrive."""
    for item in items:
        if _is_cell(item):
            item.output_timeout = OUTPUT_TIMEOUT  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a cell behind one that failed to run."""
    parent = item.parent
    if _is_cell(item) and parent is not None and (name := parent.stash.get(_failed, "")):
        pytest.skip(f"not run: {name} failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember the first cell of a notebook that failed to run."""
    report = yield
    differs = call.excinfo is not None and str(call.excinfo.value).startswith(DIFFERS)
    if _is_cell(item) and report.failed and not differs and item.parent is not None:
        item.parent.stash.setdefault(_failed, item.name)
    return report

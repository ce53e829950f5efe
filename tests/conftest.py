"""What all tests share: interrupts that arrive, and the rule for browser tests.

Browser tests run in Chromium where there is one, are named and left out where there is none, and are demanded in CI.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
left_out: list[str] = []


def pytest_configure() -> None:
    """A shell's background jobs ignore interrupts; the tests of interrupts need them all the same."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Chromium, leave the browser tests out; in CI that is an error."""
    browser = [item for item in items if item.get_closest_marker("browser")]
    if CHROMIUM or not browser:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"CI must run the {len(browser)} browser tests, and Chromium is not installed.")
    left_out.extend(item.nodeid for item in browser)
    items[:] = [item for item in items if item not in browser]
    config.hook.pytest_deselected(items=browser)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a share of the tests tells the one that reports what it left out."""
    if (sent := getattr(session.config, "workeroutput", None)) is not None:
        sent["left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every process has seen all tests, so that one's word is enough."""
    left_out[:] = getattr(node, "workeroutput", {}).get("left_out", left_out)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which tests a run without Chromium did not run."""
    if left_out:
        terminalreporter.section("left out: Chromium is not installed")
        for name in left_out:
            terminalreporter.line(name)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """pytest-playwright drives the system's Chromium; it downloads none."""
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-dev-shm-usage"]}


@pytest.fixture
def course_afresh() -> Iterator[None]:
    """No exercise has been tried before the test or after it, and the course speaks English afterwards."""
    from cbviz import course  # here, because most tests need no course
    from cbviz.course.exercise import forget

    forget()
    yield
    forget()
    course.language("en")

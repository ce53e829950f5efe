"""Every run of pytest names a failure when it happens, not only at its end: a log that is cut still has the name."""

from __future__ import annotations

import pytest


class FailuresAtOnce:
    """Writes a line for each failing test, in the process that reports."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After the test's own letter: its name, where it failed and the first line of why."""
        if not report.failed:
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        where, why = (f"{crash.path}:{crash.lineno}: ", crash.message) if crash else ("", report.longreprtext)
        first = next((line for line in why.splitlines() if line.strip()), report.when)
        self.terminal.write(f"\nFAILED {report.nodeid}\n  {where}{first}\n", flush=True)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Processes that run a share of the tests have no terminal."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal), "failures-at-once")

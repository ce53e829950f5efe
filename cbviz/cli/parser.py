"""The parser of every command: one sentence for a bad option, and help that names what there is."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cbviz.cli.targets import BAD_INPUT
from cbviz.paths import short

POLICY_NAMES = "NAMES OF POLICIES"
"""Where a help text lists the policies: they are looked up when it is printed."""


class Parser(argparse.ArgumentParser):
    """Answers a bad option with one sentence instead of a page of usage; `--help` lists the policies that there are."""

    def format_help(self) -> str:
        """The help, with the names of the policies, which only `--help` needs."""
        from cbviz.policies import POLICIES

        for action in self._actions:
            if action.help:
                action.help = action.help.replace(POLICY_NAMES, ", ".join(POLICIES))
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Print one sentence to standard error and exit with code 2."""
        one_line = " ".join(short(word) for word in message.rstrip(".").split())
        self.exit(BAD_INPUT, f"cbviz: {one_line}; `{self.prog} --help` lists what is allowed.\n")

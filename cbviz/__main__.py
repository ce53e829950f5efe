"""`python -m cbviz` and the script `cbviz`: the command, with Ctrl-C handled before anything large is imported."""

from __future__ import annotations

import sys

from cbviz import _early


def main() -> int:
    """Run the command of this process.

    Returns
    -------
    int
        The exit code.
    """
    _early.guard()
    try:
        from cbviz.cli import main as command

        return command()
    except KeyboardInterrupt as stopped:  # as the handlers change hands
        _early.leave(getattr(stopped, "number", 2))


if __name__ == "__main__":
    sys.exit(main())

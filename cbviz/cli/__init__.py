"""The command line: `cbviz race` and the other commands.

Results go to standard output, and only then are files written; progress and everything that libraries print go to
standard error. Exit codes: 0 success; 2 bad input, or a file that could not be written (one sentence says what);
130 interrupted (128 plus the number of any other signal); 141 the reader of the output closed it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from cbviz.cli.options import build_parser
from cbviz.cli.signals import INTERRUPTED, Answered, Signals, signals
from cbviz.cli.streams import Streams
from cbviz.cli.targets import BAD_INPUT
from cbviz.cli.words import bench_sentences, comparison, refusal
from cbviz.errors import CbvizError

__all__ = ["BAD_INPUT", "INTERRUPTED", "bench_sentences", "build_parser", "command_line", "comparison", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        The arguments. None means that this process is the command: it reads `sys.argv`, and handles signals.

    Returns
    -------
    int
        The exit code. Bad options raise SystemExit(2) instead, as argparse does.
    """
    own_process = argv is None
    with signals(own_process) as seen:
        try:
            with Streams() as streams:
                try:
                    code = _run(sys.argv[1:] if argv is None else argv, seen)
                except SystemExit as stop:
                    stop.code = streams.verdict(stop.code if isinstance(stop.code, int) else 0)
                    raise
                code = streams.verdict(code)
        except KeyboardInterrupt:  # a second one, while the first was being handled
            code = seen.code
    if own_process and seen.number is not None:
        os._exit(code)  # threads that still compute would only print errors
    return code


def _run(argv: Sequence[str], seen: Signals) -> int:
    """Run the command; each way to fail gives a sentence and an exit code."""
    try:
        options = build_parser().parse_args(argv)
        options.command_line = command_line(argv)
        return int(options.run(options))
    except CbvizError as error:
        print(refusal(error), file=sys.stderr)
        return BAD_INPUT if seen.number is None else seen.code
    except MemoryError:
        print("cbviz: there is not enough memory; ask for fewer slots, requests or KV blocks.", file=sys.stderr)
        return BAD_INPUT
    except Answered:
        return seen.code
    except KeyboardInterrupt:
        print("cbviz: interrupted; nothing was kept.", file=sys.stderr)
        return seen.code
    except Exception:
        if seen.number is None:
            raise
        return seen.code  # libraries turn an interrupt into their own errors


def command_line(argv: Sequence[str]) -> str:
    """The command as typed, for a result to record, without the paths of saved files.

    Parameters
    ----------
    argv
        The arguments after `cbviz`.

    Returns
    -------
    str
        The command line.
    """
    kept: list[str] = []
    drop = False
    for word in argv:
        if not drop and word not in ("--save", "--json", "--quiet") and not word.startswith("--save="):
            kept.append(word)
        drop = word == "--save"
    return shlex.join(["cbviz", *kept])

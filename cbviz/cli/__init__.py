"""The command line: `cbviz race` and what belongs to it.

Results go to standard output, and only then are files written; progress and all that libraries say go to standard
error. Exit codes: 0 the command did what was asked, 2 something asked for makes no sense or could not be written (one
sentence says what), 130 interrupted (128 plus the number of any other signal), 141 the reader of the output had seen
enough.
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
from cbviz.cli.words import bench_sentences, comparison
from cbviz.errors import CbvizError
from cbviz.paths import printable

__all__ = ["BAD_INPUT", "INTERRUPTED", "bench_sentences", "build_parser", "command_line", "comparison", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Bad options raise SystemExit(2), as argparse does.

    Without `argv` it is the process of the command: it takes its arguments from there, and signals end it orderly.
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
        except KeyboardInterrupt:  # a second one, while the first was answered
            code = seen.code
    if own_process and seen.number is not None:
        os._exit(code)  # threads that still compute would only complain
    return code


def _run(argv: Sequence[str], seen: Signals) -> int:
    """The command itself; each way in which it can fail gives a sentence and a code."""
    try:
        options = build_parser().parse_args(argv)
        options.command_line = command_line(argv)
        return int(options.run(options))
    except CbvizError as error:
        print(f"cbviz: {printable(' '.join(str(error).split()))}", file=sys.stderr)
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
        return seen.code  # libraries turn an interrupt into errors of their own


def command_line(argv: Sequence[str]) -> str:
    """What was typed, for a result to carry: without where it was saved, which may name a place on a disk."""
    kept: list[str] = []
    drop = False
    for word in argv:
        if not drop and word not in ("--save", "--json", "--quiet") and not word.startswith("--save="):
            kept.append(word)
        drop = word == "--save"
    return shlex.join(["cbviz", *kept])

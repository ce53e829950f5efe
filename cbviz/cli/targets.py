"""The files for results: checked before the work, written after everything has been printed."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from cbviz.cli.signals import Answered
from cbviz.errors import CbvizError, FileError
from cbviz.paths import new_file, new_folder, short

BAD_INPUT = 2


def check_race_targets(options: Namespace) -> None:
    """Check the output paths before anything runs. Raises FileError if one could not be written."""
    if options.html is not None:
        options.html = new_file(options.html, "--html")
    if options.save is not None:
        options.save = new_folder(options.save, "--save")
    if options.html is not None and options.save is not None and _same(options.html, options.save):
        raise FileError(f"--html and --save both name {short(options.html)}; one is a file, the other a folder.")


def _same(a: Path, b: Path) -> bool:
    return a.absolute() == b.absolute()


Writing = tuple[Callable[[], object], str]
"""A function that writes, and the sentence to print afterwards."""


def write_all(writings: list[Writing], *, quiet: bool = False) -> int:
    """Write all files, even if one fails. Returns the exit code.

    `quiet` omits the sentences on files written, but never those on failures.
    """
    code = 0
    for write, sentence in writings:
        try:
            write()
        except (CbvizError, MemoryError) as error:
            print(f"cbviz: {error or 'there is not enough memory to write a file.'}", file=sys.stderr)
            code = BAD_INPUT
        except KeyboardInterrupt:
            print("cbviz: interrupted; every file is complete, or as it was before.", file=sys.stderr)
            raise Answered from None
        else:
            if not quiet:
                print(sentence)
    return code

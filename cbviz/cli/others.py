"""The commands that run no engine: `replay`, `lab`, `slides` and `models`."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from cbviz.cli.words import of_recordings
from cbviz.errors import FileError
from cbviz.paths import new_file, new_folder, printable, short, why, write_whole

if TYPE_CHECKING:
    pass


def list_models(_: argparse.Namespace) -> int:
    """Print the models that cbviz knows by name, one per line."""
    from cbviz.models import catalogue

    width = max(len(name) for name in catalogue())
    for name, summary in catalogue().items():
        print(f"{name:<{width}}  {summary}")
    return 0


def run_lab(options: argparse.Namespace) -> int:
    """Copy the notebooks, then run JupyterLab until it is shut down."""
    from cbviz import lab

    folder = new_folder(options.folder, "the folder")
    if not options.no_open:
        lab.check_jupyterlab()
    copied = lab.copy(folder, options.language)
    for line in copied.sentences():
        print(line, flush=True)
    if not options.no_open:
        lab.open_jupyterlab(copied.folder / lab.originals(options.language)[0].name, options.jupyter)
    return 0


def run_slides(options: argparse.Namespace) -> int:
    """Write the pictures, and print the path of each as it is written."""
    from cbviz import slides

    folder = new_folder(options.folder, "the folder")
    for path in slides.export(folder, language=options.language, dark=options.dark):
        print(path, flush=True)
    return 0


def replay_runs(options: argparse.Namespace) -> int:
    """Write the player page of recorded runs, and open it unless --html names a path."""
    from cbviz.measure.verdict import verdict
    from cbviz.trace.recordings import runs_of
    from cbviz.view import player

    target = None if options.html is None else new_file(options.html, "--html")
    traces = [trace for name in options.files for trace in runs_of(name)]
    page = player.html(traces, title="Replay")
    opened = False
    if target is None:
        target = _temporary() / "replay.html"
        write_whole(target, page)
        opened = webbrowser.open(target.absolute().as_uri())
    else:
        write_whole(target, page, "--html")
    if len(traces) > 1:
        print(*(printable(of_recordings(line)) for line in verdict(*traces).sentences), sep="\n")
    print(f"{'Opened' if opened else 'Open in a browser:'} {short(target)}")
    return 0


def _temporary() -> Path:
    """A new temporary folder for the page. Raises FileError."""
    try:
        return Path(tempfile.mkdtemp(prefix="cbviz-"))
    except OSError as error:
        raise FileError(f"there is no folder for temporary files ({why(error)}); name the page with --html.") from None

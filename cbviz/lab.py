"""The course in a folder of your own: copy the notebooks there and open JupyterLab on the first.

A copy has no outputs, so that a learner guesses before seeing the result. Existing notebooks hold a learner's answers
and are never overwritten; those that differ from the original are listed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cbviz.checks import counted
from cbviz.errors import CbvizError
from cbviz.messages import check_language, languages
from cbviz.paths import Named, make_folder, path_of, short, why, write_whole

LANGUAGES = languages()
LEADS_AWAY = re.compile(r"\[([^\]\"\n]+)\]\(\.\./[^)\"\n]*\)")
"""A link to a file outside the notebooks' folder, which a copy does not have."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of `copy`: the folder, and the notebooks' names by what happened to them."""

    folder: Path
    new: tuple[str, ...]
    same: tuple[str, ...]
    kept: tuple[str, ...]
    """Notebooks that differ from the original and were left unchanged."""

    def sentences(self) -> list[str]:
        """The result in sentences."""
        lines = []
        if self.new:
            lines.append(f"{counted(len(self.new), 'notebook')} copied to {self.folder}")
        if self.same:
            were = "was" if len(self.same) == 1 else "were"
            lines.append(f"{counted(len(self.same), 'notebook')} {were} there already, unchanged.")
        if self.kept:
            lines.append(f"Kept as you left them: {', '.join(self.kept)} (move one away to get the original again).")
        return lines


def originals(language: str) -> list[Path]:
    """The course's notebooks in one language, in order, from the package or from the checkout.

    Raises CbvizError if there are none.
    """
    check_language(language)
    here = Path(__file__).resolve().parent
    for place in (here / "notebooks", here.parent / "notebooks"):
        if found := sorted((place / language).glob("*.ipynb")):
            return found
    raise CbvizError("this installation of cbviz came without the notebooks; install it from a wheel or a checkout.")


def fresh(notebook: Path) -> bytes:
    """A notebook for a learner: without outputs, and without links to files outside the folder."""
    content = json.loads(LEADS_AWAY.sub(r"\1", notebook.read_text("utf-8")))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def copy(folder: Named, language: str = "en") -> Copied:
    """Copy the notebooks into `folder`/`language`, which may be new. Existing files are left unchanged.

    Raises CbvizError if the folder is a file or cannot be written, or the language is unknown. Notebooks copied before
    the error are complete.
    """
    wanted = originals(language)
    target = make_folder(path_of(folder, "the folder") / language)
    new: list[str] = []
    same: list[str] = []
    kept: list[str] = []
    try:
        for source in wanted:
            text = fresh(source)
            place = target / source.name
            if os.path.lexists(place):
                unchanged = place.is_file() and place.read_bytes() == text
                (same if unchanged else kept).append(source.name)
            else:
                write_whole(place, text)
                new.append(source.name)
    except OSError as error:
        raise CbvizError(
            f"cannot copy the notebooks to {short(target)}: {why(error)}; name a folder that is new or writable."
        ) from error
    return Copied(target, tuple(new), tuple(same), tuple(kept))


def check_jupyterlab() -> None:
    """Raise CbvizError if JupyterLab is not installed."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise CbvizError("JupyterLab is not installed; run: pip install 'cbviz[notebook]'")


def open_jupyterlab(notebook: Path, options: Sequence[str] = ()) -> None:
    """Run JupyterLab on a notebook, with JupyterLab's own options, until it is shut down.

    Raises CbvizError if it is not installed.
    """
    check_jupyterlab()
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance([str(notebook), *options])

"""Where torch.compile and Triton keep what they compile: in the user's cache folder, where the next start finds it.

Left alone, Inductor (the compiler of torch.compile) writes to the temporary folder, which a restart empties. Both
compilers look a piece of code up by its text, by the shapes and the GPU it is for, and by their own version, and both
write a file under another name first: processes may fill the folder at the same time. What is left to do here is to
choose the folder, one for each set of versions, and to replace a damaged one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import secrets
import shutil
import threading
import time
import warnings
from pathlib import Path

from cbviz._version import __version__
from cbviz.checks import one_line
from cbviz.errors import FileError
from cbviz.models.cache import PART, cache_folder
from cbviz.paths import make_folder, short

VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""The variables by which the compilers find their folders, and the names of ours. One that is set already is obeyed."""
UNUSED_DAYS = 60
"""After so many days without a start, what other versions have compiled is removed."""

_lock = threading.Lock()
_ours: list[Path] = []
"""The folder that this process compiles into; [] before `keep_compiled`, and where the variables name others."""
_tried = False
_filled = False
"""Whether an earlier process had left something in it."""


def keep_compiled() -> None:
    """Have both compilers of this process use the user's cache folder; once, before anything is compiled.

    Variables that are set already (`TORCHINDUCTOR_CACHE_DIR`, `TRITON_CACHE_DIR`) are left alone. Where the folder
    cannot be written, one warning says so and the compilers use their own.
    """
    global _tried, _filled
    with _lock:
        if _tried:
            return
        _tried = True
        wanted = {variable: name for variable, name in VARIABLES.items() if not os.environ.get(variable)}
        if not wanted:
            return
        try:
            folder = cache_folder() / f"compiled-{versions()}"
            _filled = any(_something_in(folder / name) for name in wanted.values())
            places = {variable: make_folder(folder / name, "the cache folder") for variable, name in wanted.items()}
            os.utime(folder)
        except (FileError, OSError, RuntimeError) as error:  # no home; a folder of someone else's
            _warn(f"Compiled code is not kept for the next start: {one_line(error)}")
            return
        os.environ.update({variable: str(place.absolute()) for variable, place in places.items()})
        _ours.append(folder)
        _remove_old(folder)


def start_afresh(error: BaseException) -> bool:
    """Set a cache aside that may be damaged, after something compiled could not be loaded or run.

    Returns
    -------
    bool
        Whether there is an empty one now, so that it is worth compiling again. That is so once in a process, and only
        if an earlier process had filled the folder: what this one has compiled itself is no reason.
    """
    global _filled
    with _lock:
        if not _ours or not _filled:
            return False
        _filled = False
        folder = _ours[0]
        aside = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}{PART}")
        try:
            folder.rename(aside)  # in one step: another process may be reading it
        except OSError:  # another process was first, or nothing there can be changed
            if folder.exists():
                return False
        _warn(
            f"The compiled code in {short(folder)} seems to be damaged ({one_line(error)}); it is compiled again, "
            "which takes as long as the first time."
        )
        shutil.rmtree(aside, ignore_errors=True)
        for variable, name in VARIABLES.items():
            if os.environ.get(variable) == str((folder / name).absolute()):
                (folder / name).mkdir(parents=True, exist_ok=True)
        return True


def versions() -> str:
    """What the compiled code depends on beside its own text: torch, Triton and cbviz, whose operators it calls."""
    found = {"cbviz": __version__}
    for package in ("torch", "triton"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "-".join(f"{name}-{re.sub(r'[^0-9A-Za-z.+]', '_', version)}" for name, version in found.items())


def _something_in(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _remove_old(folder: Path) -> None:
    """Remove what other versions have compiled and no start has used for long, and what was set aside."""
    for other in folder.parent.glob("compiled-*"):
        try:
            days = (time.time() - other.stat().st_mtime) / 86_400
        except OSError:
            continue
        if other != folder and days > (1 if other.name.endswith(PART) else UNUSED_DAYS):
            shutil.rmtree(other, ignore_errors=True)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, RuntimeWarning, stacklevel=3)

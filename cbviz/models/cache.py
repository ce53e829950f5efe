"""The cache of converted models: a folder in it is either complete or ignored.

A folder is built next to its place and moved there in one step. Its manifest, written last, holds the size and SHA-256
of every file; a folder that does not match it (half written, damaged, edited) counts as missing and is replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from cbviz.paths import path_of, sha256

MANIFEST = "manifest.json"
PART = ".part"
"""Suffix of unfinished folders."""


def cache_folder() -> Path:
    """Return the user's cache folder for cbviz, which may not exist yet.

    It is CBVIZ_CACHE if set; else $XDG_CACHE_HOME/cbviz or ~/.cache/cbviz on Linux, ~/Library/Caches/cbviz on macOS,
    %LOCALAPPDATA%\\cbviz\\Cache on Windows.
    """
    if chosen := os.environ.get("CBVIZ_CACHE"):
        return path_of(chosen, "CBVIZ_CACHE")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cbviz"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cbviz" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cbviz"


def write_manifest(folder: Path, source: str) -> None:
    """Record the source of a folder, and size and SHA-256 of every file in it."""
    files = {path.name: [path.stat().st_size, sha256(path)] for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"source": source, "files": files}, indent=2), encoding="utf-8")


def is_whole(folder: Path, source: str) -> bool:
    """Whether the folder was made from `source` and matches its manifest exactly."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if manifest["source"] != source or {path.name for path in folder.iterdir()} != {*files, MANIFEST}:
            return False
        # Sizes first: they reveal a half-written file at once.
        return all((folder / name).stat().st_size == size for name, (size, _) in files.items()) and all(
            sha256(folder / name) == digest for name, (_, digest) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def install(fresh: Path, place: Path, source: str) -> None:
    """Move a finished folder to its place in one step. A complete one that another process put there first stays.

    Raises OSError if the place cannot be written.
    """
    write_manifest(fresh, source)
    if place.exists() and not is_whole(place, source):
        place.rename(fresh.with_name("damaged"))  # removed with the working folder
    try:
        fresh.rename(place)
    except OSError:
        if not is_whole(place, source):
            raise


def sweep(home: Path) -> None:
    """Remove unfinished folders left by a killed process more than a day ago."""
    for path in home.glob(f"*{PART}"):
        if time.time() - path.stat().st_mtime > 86_400:
            shutil.rmtree(path, ignore_errors=True)

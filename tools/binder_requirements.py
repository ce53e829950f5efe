"""Write binder/requirements.txt from pyproject.toml and constraints.txt: the course on a CPU, every version pinned.

    python tools/binder_requirements.py            # write it
    python tools/binder_requirements.py --check    # change nothing; fail if it is stale

It lists the requirements of the engine, the board and SmolLM2, and their dependencies, as installed here. Jupyter
itself comes with Binder's base image: replacing parts of its server breaks images. PyTorch is pinned to its local
version, `+cpu`, which only PyTorch's own index has, so pip cannot install the gigabytes of the CUDA build by mistake.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "binder" / "requirements.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = ("notebook", "gguf")
FROM_THE_BASE = {"comm", "ipython", "jupyterlab", "traitlets"}
"""Packages of Binder's base image, which are skipped together with their dependencies."""
GPU_ONLY = {"triton"}


def canonical(name: str) -> str:
    """A package's normalised name, for comparison."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, tuple[str, str]]:
    """constraints.txt: canonical name → name and version."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): (name, version) for name, _, version in found}


def needed() -> set[str]:
    """Canonical names of the packages that the course needs on a CPU, and of their dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    waiting = [Requirement(line) for line in [*project["dependencies"], *extras]]
    pinned, found = pins(), set[str]()
    while waiting:
        wanted = waiting.pop()
        name = canonical(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        # If a CUDA build of torch is installed here, it requires libraries that constraints.txt does not list.
        if name in found or name in FROM_THE_BASE or name in GPU_ONLY or name not in pinned:
            continue
        found.add(name)
        waiting += [Requirement(line) for line in requires(name) or ()]
    return found


def text() -> str:
    """The whole file."""
    head = (
        "# Written by `python tools/binder_requirements.py` from pyproject.toml and constraints.txt.\n"
        "# JupyterLab comes with Binder's base image, cbviz itself with postBuild.\n"
        f"--extra-index-url {CPU_INDEX}\n"
    )
    pinned = pins()
    lines = []
    for name in sorted(needed()):
        shown, version = pinned[name]
        lines.append(f"{shown}=={version}{'+cpu' if name == 'torch' else ''}\n")
    return head + "".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if `--check` finds the file stale."""
    parser = argparse.ArgumentParser(description="Write binder/requirements.txt.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file is stale")
    options = parser.parse_args(argv)
    fresh = text()
    if options.check:
        if not TARGET.exists() or TARGET.read_text("utf-8") != fresh:
            print("binder/requirements.txt is stale; run python tools/binder_requirements.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

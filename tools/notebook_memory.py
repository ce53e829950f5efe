"""Measure how much memory each notebook needs: run it on the CPU and read its kernel's peak.

    python tools/notebook_memory.py                                # every English notebook
    python tools/notebook_memory.py notebooks/en/02*.ipynb
    python tools/notebook_memory.py --json docs/memory.json        # and write the figures to a file
    python tools/notebook_memory.py notebooks/en/02*.ipynb --json docs/memory.json    # one row of it; others stay

The figures decide whether the course runs on Binder, which kills a kernel that needs more than 2 GB. Each is the
kernel's peak resident memory (`VmHWM` in /proc, so Linux only), with one thread and GPUs hidden. JupyterLab's own
memory, measured after its first request, comes on top.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from normalise_notebooks import NOTEBOOKS
from packaging.version import Version

ASK = "print(open('/proc/self/status').read())"
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak(status: str) -> int:
    """The peak in bytes from the text of /proc/PID/status. Raises ValueError if it is missing."""
    found = PEAK.search(status)
    if found is None:
        raise ValueError("there is no VmHWM in /proc/self/status; memory is measured on Linux only.")
    return 1024 * int(found[1])


def of_notebook(path: Path) -> tuple[int, float]:
    """Run a notebook in a fresh kernel; returns the kernel's peak in bytes, and the seconds that the run took."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    began = time.perf_counter()
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}, store_widget_state=False
    ).execute()
    (output,) = notebook.cells[-1].outputs
    return peak(output.text), time.perf_counter() - began


def of_jupyterlab() -> int:
    """Start JupyterLab, request its page, and return its peak in bytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/lab?token={token}", timeout=5) as page:
                    page.read()
                return peak(Path(f"/proc/{server.pid}/status").read_text())
            except OSError:
                time.sleep(0.5)
        raise TimeoutError("JupyterLab did not answer within a minute.")
    finally:
        server.terminate()
        server.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each notebook; returns 0."""
    parser = argparse.ArgumentParser(description="Measure how much memory each notebook needs.")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (all of notebooks/en)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")  # kernels inherit it
    rows, today = [], datetime.now(UTC).date().isoformat()
    for path in options.paths or sorted((NOTEBOOKS / "en").glob("*.ipynb")):
        bytes_held, seconds = of_notebook(path)
        rows.append({"notebook": path.stem, "peak_bytes": bytes_held, "date": today})
        print(f"{path.stem:<32} {bytes_held / 1e6:6.0f} MB   {seconds:5.0f} s", flush=True)
    server = of_jupyterlab()
    print(f"{'JupyterLab itself':<32} {server / 1e6:6.0f} MB")
    if options.json is not None:
        facts = {
            "command": "python tools/notebook_memory.py",
            "date": today,
            "versions": versions(),
            "jupyterlab_bytes": server,
            "notebooks": beside(rows, options.json) if options.paths else rows,
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return 0


def beside(rows: Sequence[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """These rows and those that the file has of other notebooks, in order, each with the day of its measurement."""
    if not file.exists():
        return list(rows)
    facts = json.loads(file.read_text("utf-8"))
    known = {row["notebook"]: {"date": facts["date"], **row} for row in facts["notebooks"]}
    known |= {row["notebook"]: row for row in rows}
    return [known[name] for name in sorted(known)]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages behind the figures."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("cbviz", "torch", "transformers", "jupyterlab", "ipykernel")}
    return {"python": str(Version(sys.version.split()[0])), **packages}


if __name__ == "__main__":
    sys.exit(main())

"""A JupyterLab of its own on the loopback interface, for tools that show a notebook as it runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page


@contextmanager
def lab(folder: Path) -> Iterator[str]:
    """The address of a server whose notebooks lie in `folder`; it ends with the block.

    Its settings are its own: those of a fresh JupyterLab, which does not ask whether it may fetch news.
    """
    with tempfile.TemporaryDirectory() as own:
        settings = Path(own, "settings", "@jupyterlab", "apputils-extension", "notification.jupyterlab-settings")
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
        places = {"JUPYTERLAB_SETTINGS_DIR": f"{own}/settings", "JUPYTERLAB_WORKSPACES_DIR": f"{own}/spaces"}
        with _served(folder, os.environ | {"PYTHONPATH": str(Path.cwd())} | places) as address:
            yield address


@contextmanager
def _served(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
            *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}"),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        server.wait(120)


def written(path: Path, sources: Sequence[str]) -> None:
    """Write a notebook of these code cells."""
    cells: list[dict[str, object]] = [
        {
            "id": f"cell{number}",
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}), "utf-8")


def opened(tab: Page, address: str, name: str) -> None:
    """Open a notebook, and wait until its kernel listens: keys pressed earlier would be lost."""
    tab.goto(f"{address}/lab/tree/{name}?reset")
    tab.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    wait_for_kernel(address)


def wait_for_kernel(address: str) -> None:
    """Wait until the notebook's kernel has nothing to do; the server may stumble over one that is just coming up."""
    while True:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{address}/api/kernels", timeout=60) as answer:
            if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in json.load(answer)):
                return
        time.sleep(0.2)

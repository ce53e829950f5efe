"""docker/Dockerfile, read: the tests build no image."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cbviz.cli.options import build_parser

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
LINES = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
STEPS = [(kind, given) for kind, _, given in (line.partition(" ") for line in LINES if line)]
PYTHON = (ROOT / "binder" / "runtime.txt").read_text().strip().replace("-", ":")


def test_its_python_is_binders_and_what_it_copies_is_there() -> None:
    assert STEPS[0] == ("FROM", f"{PYTHON}-slim-bookworm")
    copied = [name for kind, given in STEPS if kind == "COPY" for name in given.split()[:-1]]
    assert copied == ["binder/requirements.txt", "constraints.txt", "."]
    assert all((ROOT / name).exists() for name in copied)


def test_every_package_has_a_pinned_version() -> None:
    installs = [part for kind, given in STEPS if kind == "RUN" for part in given.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for install in installs:
        assert re.search(r"--requirement /opt/pins/req|--constraint /opt/pins/con|--no-deps /opt/cbviz", install)
    assert re.search(r"^jupyterlab==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_it_serves_as_an_ordinary_user_with_a_command_that_cbviz_knows() -> None:
    kinds = [kind for kind, _ in STEPS]
    assert dict(STEPS)["USER"] == "learner"
    assert kinds.index("USER") < kinds.index("CMD") == len(kinds) - 1
    program, *typed = json.loads(dict(STEPS)["CMD"])
    options = build_parser().parse_args(typed)
    assert program == "cbviz"
    assert (options.folder, options.jupyter) == ("course", ["--ip=0.0.0.0", "--no-browser"])


def test_the_environment_is_not_sent_to_the_builder() -> None:
    left_out = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {".git", ".venv", "build", "dist", "site"} <= set(left_out)

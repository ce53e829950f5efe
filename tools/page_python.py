"""Python for the page: Pyodide's npm package, cbviz's policies and the page's bridge, as one script beside the page.

The package is fetched by npm once, at the version and checksum that are pinned here, and kept in build/npm. The page
loads the script from its own folder when a reader first asks for Python, and only with the hash that it was built with;
nothing else is ever fetched, because all files of Pyodide are in it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import cbviz
from cbviz.errors import CbvizError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(cbviz.__file__).parent
VERSION = "314.0.7"
CHECKSUM = "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
"""What npm calls the integrity of the package."""
CACHE = ROOT / "build" / "npm"
NAME = "python.js"
"""The script's name, beside the page."""
SOURCES = (
    *("__init__.py", "_moved.py", "_version.py", "checks.py", "errors.py", "limits.py", "reason.py"),
    *("messages/__init__.py", "messages/en.json", "messages/zh.json", "core/read_only.py", "policies/*.py"),
)
"""What a policy and the referee need of cbviz. The rest of `core` needs numpy, which Pyodide's package has not."""
LICENCES = f"""/* Pyodide {VERSION} (MPL-2.0, https://github.com/pyodide/pyodide) with CPython and its standard library
   (PSF-2.0), as the npm package pyodide has them, and parts of cbviz (Apache-2.0). */
"""
FETCHING = 300
"""Seconds that npm has."""


class UnavailableError(CbvizError):
    """Pyodide cannot be fetched here."""


def archive() -> bytes:
    """The npm package, from build/npm or from the registry.

    Raises
    ------
    UnavailableError
        There is no npm, or no network.
    CbvizError
        The package is not the one that is pinned.
    """
    kept = CACHE / f"pyodide-{VERSION}.tgz"
    if not kept.is_file():
        _fetch(kept)
    data = kept.read_bytes()
    found = f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"
    if found != CHECKSUM:
        raise CbvizError(f"{kept} is not the package that is pinned: its checksum is {found}, not {CHECKSUM}.")
    return data


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm, which fetches Pyodide, is not installed.")
    kept.parent.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", f"pyodide@{VERSION}", "--silent", "--pack-destination", str(kept.parent)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCHING)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"npm did not fetch Pyodide within {FETCHING} s.") from None
    if done.returncode or not kept.is_file():
        raise UnavailableError(
            f"npm could not fetch Pyodide: {' '.join(done.stderr.split())[-300:] or 'no file came'}."
        )


def files() -> dict[str, bytes]:
    """The files of the package that a browser needs, by name."""
    names = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive())) as package:
        for name in names:
            member = package.extractfile(f"package/{name}")
            if member is None:
                raise CbvizError(f"the package has no {name}.")
            found[name] = member.read()
    return found


def runtime(loader: str, module: str, lock: str) -> str:
    """Pyodide's two modules as one text for a module worker: `startPyodide(options)`, with nothing left to import.

    Of the list of packages only what describes Pyodide itself is kept: Python has its standard library here, and no
    package can be installed.
    """
    asm = _without_exports(module, r"export default (?P<name>\w+);")
    load = _without_exports(loader, r"export\{(?P<name>\w+) as loadPyodide,[^}]*\};")
    packages = json.dumps({"info": json.loads(lock)["info"], "packages": {}})
    return (
        f"globalThis.startPyodide = (() => {{\nconst createPyodideModule = {asm};\nconst loadPyodide = {load};\n"
        f"const lockFileContents = {packages};\n"
        "return (options) => loadPyodide({ ...options, createPyodideModule, lockFileContents });\n})();\n"
    )


def _without_exports(text: str, pattern: str) -> str:
    """A module as an expression whose value is what it exports under this pattern."""
    [export] = re.finditer(pattern, text)
    body = text[: export.start()] + text[export.end() :]
    return f"(() => {{\n{body}\nreturn {export['name']};\n}})()"


def sources() -> dict[str, str]:
    """Path → text of every Python file and catalogue that Pyodide imports."""
    paths = sorted(path for pattern in SOURCES for path in PACKAGE.glob(pattern))
    found = {f"cbviz/{path.relative_to(PACKAGE).as_posix()}": path.read_text("utf-8") for path in paths}
    return {"bridge.py": (ROOT / "web" / "python" / "bridge.py").read_text("utf-8"), **found}


@cache
def script() -> str:
    """The script beside the page: it puts every part, as base64 of gzip, where the page looks for it.

    Raises
    ------
    UnavailableError
        Pyodide cannot be fetched here.
    """
    package = files()
    modules = (package[name].decode() for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide-lock.json"))
    parts = {
        "runtime": runtime(*modules).encode(),
        "wasm": package["pyodide.asm.wasm"],
        "library": package["python_stdlib.zip"],
        "sources": json.dumps(sources(), ensure_ascii=False, separators=(",", ":")).encode(),
    }
    packed = {
        name: base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")
        for name, data in parts.items()
    }
    return f"{LICENCES}globalThis.cbvizPython = {json.dumps(packed)};\n"

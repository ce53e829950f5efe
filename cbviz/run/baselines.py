"""Other engines on the same work, each in its own process, so that it has the whole device to itself.

transformers-static
    `model.generate` on batches of `slots` requests in order, each batch run to its longest output: what most users
    write first.
transformers-cb
    transformers' own continuous batching, as installed, with CUDA graphs where there is a GPU.

A process reads its job as JSON from standard input and writes its result as the last line of standard output. Only
tokens that a request asked for count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cbviz.checks import is_a, listed, shown
from cbviz.errors import CbvizError
from cbviz.run.progress import Progress
from cbviz.workload import Workload

PEERS = ("transformers-static", "transformers-cb")
SECONDS_A_PEER = 3600
"""Seconds after which we give up on a peer."""


@dataclass(frozen=True, slots=True)
class PeerJob:
    """The work for a peer.

    `prompts` [requests] and `most` [requests] hold each request's token ids and its limit of output tokens; `forced`
    says whether every output runs to that limit.
    """

    model: str
    device: str
    dtype: str
    slots: int
    repeats: int
    prompts: tuple[tuple[int, ...], ...]
    most: tuple[int, ...]
    forced: bool
    ignore_generation_config: bool = False

    @staticmethod
    def of(model: str, workload: Workload, *, device: str, dtype: str, slots: int, repeats: int) -> PeerJob:
        """Make the job for a workload.

        Raises
        ------
        CbvizError
            Only some outputs have forced lengths, or a request arrives after time 0, samples at random, or has stop
            tokens.
        """
        forced = {request.output_length is not None for request in workload}
        if len(forced) > 1:
            raise CbvizError("peers need a workload in which all outputs have forced lengths, or none do.")
        if any(request.arrival or not request.sampling.greedy or request.stop_tokens for request in workload):
            raise CbvizError("peers run only greedy requests that arrive at time 0 and have no stop tokens.")
        return PeerJob(
            model=model,
            device=device,
            dtype=dtype,
            slots=slots,
            repeats=repeats,
            prompts=tuple(request.prompt for request in workload),
            most=tuple(request.output_length or request.max_new_tokens for request in workload),
            forced=forced == {True},
        )


@dataclass(frozen=True, slots=True)
class PeerResult:
    """A peer's result: seconds of every timed run and the output tokens of one, or the error that stopped it."""

    name: str
    runs: tuple[float, ...] = ()
    output_tokens: int = 0
    error: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Output tokens a second in the median run; 0 if the peer failed."""
        return self.output_tokens / median(self.runs) if self.runs else 0.0

    def to_json(self) -> dict[str, Any]:
        """The result as plain numbers and strings."""
        if self.error:
            return {"name": self.name, "error": self.error}
        return {
            "name": self.name,
            "tokens_per_second": self.tokens_per_second,
            "seconds": median(self.runs),
            "seconds_range": [min(self.runs), max(self.runs)],
            "output_tokens": self.output_tokens,
        }


def check_peers(peers: Sequence[str], model: object) -> None:
    """Raise CbvizError for an unknown peer, or for a model that a peer cannot load by name."""
    named = listed("peers", peers, "names")
    for peer in named:
        if not is_a(peer, str) or peer not in PEERS:
            raise CbvizError(f"there is no peer {shown(peer)}; choose among {', '.join(PEERS)}.")
    if named and not isinstance(model, str):
        raise CbvizError("peers load the model themselves; give its name instead of a loaded model.")


def run_peer(peer: str, job: PeerJob, progress: Progress) -> PeerResult:
    """Run a peer in its own process. Raises nothing: if the peer fails, the result's `error` says why in one line."""
    progress.start(peer, 1)
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "cbviz.run.baseline_process", peer],
            input=json.dumps(asdict(job)),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            capture_output=True,
            text=True,
            timeout=SECONDS_A_PEER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return PeerResult(peer, error=f"it had not finished after {SECONDS_A_PEER} seconds.")
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"it ended with exit code {ended.returncode}."]
        return PeerResult(peer, error=lines[-1])
    try:
        printed = json.loads(ended.stdout.strip().splitlines()[-1])
        found = PeerResult(peer, tuple(printed["runs"]), printed["output_tokens"])
    except (IndexError, KeyError, TypeError, ValueError):
        return PeerResult(peer, error=f"it printed no result: {ended.stdout.strip()[-200:]!r}.")
    progress.advance(peer, note=f"{found.tokens_per_second:,.0f} tokens/s")
    return found

"""Where replicas run: in this process, each in a process of its own, or each as an actor of Ray.

A place is asked for something and answers later, so that all replicas compute at the same time. One that can no longer
answer raises `ReplicaLostError`; what cbviz refuses (a CbvizError) is raised as it is.
"""

from __future__ import annotations

import contextlib
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from cbviz.checks import one_line
from cbviz.errors import CbvizError, EngineError
from cbviz.run.replica import Replica, ReplicaSetup
from cbviz.worker import leave_interrupts_alone

STOP_SECONDS = 10.0
"""Within which a process ends once it is asked to; then it is stopped."""


class ReplicaLostError(Exception):
    """A replica answers no more; the text says why, as a piece of a sentence."""


class Place(Protocol):
    """A replica, wherever it runs."""

    def ask(self, method: str, *arguments: Any) -> None:
        """Let the replica begin with a call. The answer to the last one was taken."""
        ...

    def answer(self) -> Any:
        """What the call returned. Raises ReplicaLostError, or the CbvizError that the call raised."""
        ...

    def close(self) -> None:
        """End the replica, whatever it is doing."""
        ...


class Here:
    """In this process: a call is computed when its answer is taken."""

    def __init__(self, setup: ReplicaSetup) -> None:
        self._replica = Replica(setup)
        self._call: tuple[str, tuple[Any, ...]] = ("meta", ())

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Place.ask`."""
        self._call = (method, arguments)

    def answer(self) -> Any:
        """See `Place.answer`."""
        method, arguments = self._call
        try:
            return getattr(self._replica, method)(*arguments)
        except Exception as error:
            if _is_refusal(error):
                raise
            raise ReplicaLostError(one_line(error)) from error

    def close(self) -> None:
        """See `Place.close`."""


class InProcess:
    """In a process of its own; `gpu` is the only one that it sees, None leaves all visible."""

    def __init__(self, setup: ReplicaSetup, gpu: int | None) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup, gpu), daemon=True)
        self._process.start()
        theirs.close()
        self._gone = ""

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Place.ask`."""
        try:
            self._pipe.send((method, arguments))
        except OSError:  # the answer says so
            self._gone = "its process ended"

    def answer(self) -> Any:
        """See `Place.answer`."""
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(STOP_SECONDS)
            raise ReplicaLostError(f"its process ended with code {self._process.exitcode}") from None
        if kind == "refused":
            raise value
        if kind == "lost":
            raise ReplicaLostError(value)
        return value

    def close(self) -> None:
        """See `Place.close`."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._pipe.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.terminate()


class OnRay:
    """As an actor on a Ray cluster, with a GPU of its own where `gpus` is 1."""

    def __init__(self, ray: Any, setup: ReplicaSetup, gpus: int) -> None:
        self._ray = ray
        # Lost actors are not restarted: their requests go to the others, which have the model ready.
        self._actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Replica).remote(setup)
        self._pending: Any = None

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Place.ask`."""
        self._pending = getattr(self._actor, method).remote(*arguments)

    def answer(self) -> Any:
        """See `Place.answer`."""
        try:
            return self._ray.get(self._pending)
        except self._ray.exceptions.RayTaskError as error:
            if _is_refusal(error.cause):
                raise error.cause from None
            raise ReplicaLostError(one_line(error.cause)) from None
        except self._ray.exceptions.RayError as error:
            raise ReplicaLostError(f"its actor died ({one_line(error, 100)})") from None

    def close(self) -> None:
        """See `Place.close`."""
        with contextlib.suppress(Exception):  # it may be gone already
            self._ray.kill(self._actor)


def _is_refusal(error: Any) -> bool:
    """Whether cbviz refuses something, and any replica would: not a pass that failed on this one."""
    return isinstance(error, CbvizError) and not isinstance(error, EngineError)


def _serve(pipe: Connection, setup: ReplicaSetup, gpu: int | None) -> None:
    """The process of a replica: make it, then answer one call after the other until the pipe closes."""
    leave_interrupts_alone()
    if gpu is not None:  # before CUDA starts here
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible else str(gpu)
    replica: Replica | None = None
    with contextlib.suppress(EOFError, OSError):  # the other end is gone
        while (call := pipe.recv()) is not None:
            method, arguments = call
            try:
                if replica is None:
                    replica = Replica(setup)
                pipe.send(("done", getattr(replica, method)(*arguments)))
            except Exception as error:
                if _is_refusal(error):
                    pipe.send(("refused", error))
                    continue
                pipe.send(("lost", one_line(error)))
                return

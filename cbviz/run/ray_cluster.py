"""Ray, connected: a cluster that runs already, by its address, or one of our own."""

from __future__ import annotations

import contextlib
import os
import socket
from traceback import walk_tb
from typing import Any

from cbviz.checks import one_line, shown
from cbviz.errors import SweepError

REACH_SECONDS = 5.0
"""Within which a cluster must answer."""
SETTINGS = b"\x04"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS + bytes(5)
"""How a client begins to speak HTTP/2, with an empty frame of settings; the server answers with its own (RFC 9113,
section 3.4)."""
STARTS = 3
"""How often a Ray of our own is started before that counts as a failure."""
QUIETLY: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}


def connect(address: str, cpus: int | None, what: str = "a sweep on Ray") -> tuple[Any, bool]:
    """Connect to Ray.

    Parameters
    ----------
    address
        "ray://HOST:PORT", "HOST:PORT" or "auto" for a cluster that runs already; "local" starts one here.
    cpus
        Of one that is started; None takes all cores.
    what
        What needs it, for messages.

    Returns
    -------
    (module, bool)
        Ray, and whether this call connected it, so that the caller must shut it down.

    Raises
    ------
    SweepError
        Ray is not installed or does not start, or no cluster answers within seconds.
    """
    if not isinstance(address, str) or not address:
        raise SweepError(f"address must be None, 'auto', 'local', HOST:PORT or ray://HOST:PORT, not {shown(address)}.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise SweepError(f"{what} needs Ray; install it with: pip install cbviz[ray]") from None
    if ray.is_initialized():
        return ray, False
    if address == "local":
        _start(ray, cpus or os.cpu_count() or 1)
        return ray, True
    if ":" in address:
        _check_reach(address)
    try:
        ray.init(address=address, **QUIETLY)
    except Exception as error:
        raise SweepError(f"no Ray cluster answers at {address!r}: {one_line(error)}.") from None
    return ray, True


def _start(ray: Any, cpus: int) -> None:
    """Start a Ray of our own. Raises SweepError.

    It is tried again, for Ray gives its own processes 15 seconds, which a busy machine can exceed while it reads them
    from disk (ray-project/ray#65983); the second time they are in memory. A worker has longer than Ray's minute: one
    that exceeds it is not replaced, and the sweep would wait for ever.
    """
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
    for left in reversed(range(STARTS)):
        try:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **QUIETLY)
        except Exception as error:
            _end_half_started(error)
            if not left:
                raise SweepError(
                    f"Ray could not be started on this machine: {one_line(error)}. Where other work keeps it busy, use "
                    "processes instead (workers)."
                ) from None
        else:
            return


def _end_half_started(error: Exception) -> None:
    """End the processes of a Ray that did not come up: `ray.shutdown` knows none of them, the traceback their owner."""
    for frame, _ in walk_tb(error.__traceback__):
        kill = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if kill is not None:
            with contextlib.suppress(Exception):  # some may have ended
                kill(check_alive=False, allow_graceful=False)


def _check_reach(address: str) -> None:
    """Raise SweepError unless something listens at an address and speaks HTTP/2, as gRPC does.

    Ray itself would try for half a minute, and with what answers otherwise, such as its own dashboard, for ever.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SweepError(f"an address of Ray is ray://HOST:PORT, HOST:PORT, 'auto' or 'local', not {address!r:.80}.")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), REACH_SECONDS) as link:
            if os.environ.get("RAY_USE_TLS", "0") in ("1", "true"):
                return
            link.sendall(PREFACE)
            frame = b""
            while len(frame) < 9 and (more := link.recv(9 - len(frame))):
                frame += more
    except OSError as error:
        raise SweepError(f"no Ray cluster answers at {address!r:.80}: {one_line(error)}.") from None
    if frame[3:4] != SETTINGS:
        raise SweepError(f"no Ray cluster answers at {address!r:.80}: what listens there is something else.")

"""Ray, connected: a cluster that runs already, by its address, or one of our own."""

from __future__ import annotations

import os
import socket
from typing import Any

from cbviz.checks import one_line, shown
from cbviz.errors import SweepError

REACH_SECONDS = 5.0
"""Within which a cluster must answer."""


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
        Ray is not installed, or no cluster answers within seconds.
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
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options |= {"num_cpus": cpus or os.cpu_count() or 1, "include_dashboard": False, "address": "local"}
    else:
        options["address"] = address
        if ":" in address:
            _check_reach(address)
    try:
        ray.init(**options)
    except Exception as error:
        raise SweepError(f"no Ray cluster answers at {address!r}: {one_line(error)}.") from None
    return ray, True


def _check_reach(address: str) -> None:
    """Raise SweepError unless something listens at an address: Ray's client itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SweepError(f"an address of Ray is ray://HOST:PORT, HOST:PORT, 'auto' or 'local', not {address!r:.80}.")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), REACH_SECONDS):
            return
    except OSError as error:
        raise SweepError(f"no Ray cluster answers at {address!r:.80}: {one_line(error)}.") from None

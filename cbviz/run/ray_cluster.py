"""Ray, connected: a cluster that runs already, by its address, or one of our own."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from importlib.util import find_spec
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
DRIVER_ASKS, CLIENT_ASKS = "/ray.rpc.NodeInfoGcsService/GetClusterId", "/ray.rpc.RayletDriver/ClusterInfo"
"""The first that Ray asks a cluster: by HOST:PORT, and by ray://HOST:PORT."""
_MISSING = "{what} needs Ray; install it with: pip install cbviz[ray]"
_REFUSED = (
    "the Ray cluster at {address} refuses us, for it wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the "
    "token that the cluster was started with (or keep it in ~/.ray/auth_token)."
)
QUIETLY: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}


@contextlib.contextmanager
def connected(address: str, cpus: int | None, what: str = "a sweep on Ray") -> Iterator[Any]:
    """Ray, connected as long as the block lasts.

    A connection that the caller had already is used and kept; one that is made here ends here, and with it a Ray of our
    own. What it changes of the environment, Ray's own changes too, is put back, so that it decides nothing later.

    Parameters
    ----------
    address
        "ray://HOST:PORT", "HOST:PORT" or "auto" for a cluster that runs already; "local" starts one here.
    cpus
        Of one that is started; None takes all cores.
    what
        What needs it, for messages.

    Raises
    ------
    SweepError
        Ray is not installed or does not start, or no cluster answers within seconds, or it refuses us.
    """
    check_address(address, what)
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    theirs = False
    try:
        try:
            import ray
        except ImportError:  # half of it is there
            raise SweepError(_MISSING.format(what=what)) from None
        if theirs := ray.is_initialized():
            yield ray
            return
        if address == "local":
            _start(ray, cpus or os.cpu_count() or 1)
        else:
            _join(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]
        os.environ.update(before)
        if not theirs:
            _read_environment()


def check_address(address: object, what: str = "a sweep on Ray") -> None:
    """Raise SweepError for what is no address of a cluster, or where Ray is not installed. No cluster is asked."""
    if not isinstance(address, str) or not address:
        raise SweepError(f"address must be None, 'auto', 'local', HOST:PORT or ray://HOST:PORT, not {shown(address)}.")
    try:
        installed = find_spec("ray") is not None
    except ValueError:  # a module that no file belongs to
        installed = True
    if not installed:
        raise SweepError(_MISSING.format(what=what))


def _read_environment() -> None:
    """Let Ray read its settings and its token again: it keeps those of when it was imported, or of a cluster before."""
    with contextlib.suppress(ImportError, AttributeError):  # a Ray before tokens
        from ray._raylet import AuthenticationTokenLoader, Config

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _join(ray: Any, address: str) -> None:
    """Connect to a cluster that runs already. Raises SweepError, within seconds where nothing can come of it."""
    _read_environment()
    found = _detected() if address == "auto" else address
    if found:
        _check_reach(found, address)
        if address == "auto" and "RAY_AUTH_MODE" not in os.environ and _has_token():
            os.environ["RAY_AUTH_MODE"] = "token"  # as Ray itself does for "auto", and for no other address
            _read_environment()
        _check_answer(found, address)
    try:
        with _client_mode_left_off():
            ray.init(address=address, **QUIETLY)
    except ConnectionError as error:
        _, failed, why = str(error).partition("Initialization failure from server:")
        if failed:  # each client gets a server of its own, for which Ray waits 30 s
            reason = f" ({one_line(ConnectionError(why), 300)})" if why.strip() else ""
            raise SweepError(
                f"the Ray cluster at {shown(address)} answers, but its server for this connection did not "
                f"start{reason}; its machine may be busy or out of memory: try again."
            ) from None
        raise SweepError(f"no Ray cluster answers at {shown(address)}: {one_line(error)}.") from None
    except Exception as error:  # such as another version of Ray or of Python
        if type(error).__name__ == "AuthenticationError":
            raise SweepError(_REFUSED.format(address=shown(address))) from None
        raise SweepError(f"the Ray cluster at {shown(address)} cannot be used: {one_line(error, 300)}.") from None


@contextlib.contextmanager
def _client_mode_left_off() -> Iterator[None]:
    """Undo what Ray leaves of a ray:// connection that fails half-way: its client's mode, which sends every call there.

    In that mode no later connection by HOST:PORT of this process succeeds; Ray answers it with a bare AssertionError.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(ImportError, AttributeError):
            from ray._private.client_mode_hook import _explicitly_disable_client_mode

            _explicitly_disable_client_mode()
        raise


def _detected() -> str:
    """The address that Ray means by "auto", which may be that of a cluster that is gone; "" if it does not say."""
    with contextlib.suppress(Exception):  # ray.init says what is wrong
        from ray._private.services import get_ray_address_from_environment

        return str(get_ray_address_from_environment("auto", None))
    return ""


def _has_token() -> bool:
    with contextlib.suppress(Exception):  # a Ray before tokens
        from ray._raylet import AuthenticationTokenLoader

        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    return False


def _check_answer(address: str, said: str) -> None:
    """Raise SweepError where Ray's first question gets an answer that no cluster gives, or one that wants a token.

    Ray itself would ask it for 20 to 30 seconds, and then say that nothing answers. What leaves hope is left to Ray.
    """
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel

        question = CLIENT_ASKS if address.startswith("ray://") else DRIVER_ASKS
        with init_grpc_channel(address.removeprefix("ray://")) as channel:
            try:
                channel.unary_unary(question)(b"", timeout=REACH_SECONDS)
            except grpc.RpcError as error:
                code = error.code().name
            else:
                return
    except Exception as error:  # a Ray that asks otherwise
        code = type(error).__name__
    if code in ("UNAUTHENTICATED", "AuthenticationError"):  # the latter: tokens are on, and there is none to send
        raise SweepError(_REFUSED.format(address=shown(said)))
    if code in ("UNIMPLEMENTED", "PERMISSION_DENIED", "UNAVAILABLE"):  # such as a web server that speaks HTTP/2
        raise SweepError(f"no Ray cluster answers at {_named(address, said)}: what listens there is something else.")


def _start(ray: Any, cpus: int) -> None:
    """Start a Ray of our own. Raises SweepError.

    It is tried again, for Ray gives its own processes 15 seconds, which a busy machine can exceed while it reads them
    from disk (ray-project/ray#65983); the second time they are in memory. A worker has longer than Ray's minute: one
    that exceeds it is not replaced, and the sweep would wait for ever.

    It has a token of its own. Ray would leave one in ~/.ray/auth_token, after which every `ray start` of this user
    would demand it, and refuse whichever program connects by address without saying so.
    """
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() == "token" and not (
        os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _read_environment()
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


def _check_reach(address: str, said: str) -> None:
    """Raise SweepError unless something listens at an address and speaks HTTP/2, as gRPC does.

    Messages name what was `said`, such as "auto", and the address too where that is another.

    Ray itself would try for half a minute, and with what answers otherwise, such as its own dashboard, for ever.
    """
    named = _named(address, said)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SweepError(f"an address of Ray is ray://HOST:PORT, HOST:PORT, 'auto' or 'local', not {named}.")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), REACH_SECONDS) as link:
            if os.environ.get("RAY_USE_TLS", "0") in ("1", "true"):
                return
            link.sendall(PREFACE)
            frame = b""
            while len(frame) < 9 and (more := link.recv(9 - len(frame))):
                frame += more
    except OSError as error:
        raise SweepError(f"no Ray cluster answers at {named}: {one_line(error)}.") from None
    if frame[3:4] != SETTINGS:
        raise SweepError(f"no Ray cluster answers at {named}: what listens there is something else.")


def _named(address: str, said: str) -> str:
    return shown(said) if said == address else f"{shown(said)} ({address:.80})"

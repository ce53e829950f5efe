"""Data-parallel replicas of the real engine behind one router, each a lane with its own clock.

A request reaches the router when it arrives. Until then every replica computes, at the same time as the others where it
has a device of its own; what the router sees of them is what was true at that moment on their clocks. Waiting for one
another costs no lane any time: its clock counts its own iterations.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from cbviz.checks import flag, is_a, one_of, shown, whole
from cbviz.errors import EngineError, WorkloadError
from cbviz.events import Iteration
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import Policy, fresh, get
from cbviz.run.ray_cluster import connected
from cbviz.run.replica import ReplicaSetup
from cbviz.run.replica_places import Here, InProcess, OnRay, Place, ReplicaLostError
from cbviz.run.replica_result import Moved, Replicated
from cbviz.run.replica_routing import ReplicaView, Router, router_of
from cbviz.trace import Recorder, TraceMeta
from cbviz.workload import Request, Workload

MOST_REPLICAS = 64
Where = Literal["here", "processes", "ray"]


@dataclass(slots=True)
class _Live:
    """What the router's side knows of a replica."""

    number: int
    place: Place
    recorder: Recorder
    slots: int
    sent: dict[int, Request] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    ended: list[float] = field(default_factory=list)
    """When requests ended on the replica's clock, ascending."""
    outputs: dict[int, list[int]] = field(default_factory=dict)
    now: float = 0.0
    kv_used: float = 0.0
    lost: str = ""
    """Why it answers no more."""

    def record(self, events: Sequence[Iteration]) -> None:
        for event in events:
            self.recorder.add(event)
            for slot, tokens in event.given.items():
                self.outputs.setdefault(int(event.request[slot]), []).extend(tokens)
            for finish in event.finished:
                self.finished.add(finish.request)
                self.ended.append(event.t_end)
            self.now = event.t_end
            self.kv_used = (event.blocks_used + event.blocks_reserved) / event.blocks_total

    def seen(self, at: float) -> ReplicaView:
        outstanding = len(self.sent) - bisect_right(self.ended, at)
        return ReplicaView(self.number, outstanding, self.slots, self.kv_used if outstanding else 0.0)


def replicate(
    workload: Workload,
    model: str | LoadedModel = "tiny",
    policy: str | Policy = "continuous",
    *,
    replicas: int = 2,
    routing: str | Router = "round_robin",
    where: Where = "here",
    address: str | None = None,
    slots: int = 8,
    block_size: int = 16,
    kv_blocks: int | None = None,
    prefix_cache: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
) -> Replicated:
    """Serve a workload on several replicas of a model.

    Parameters
    ----------
    workload
        Its arrivals are in seconds.
    model
        A name; in this process also a loaded model.
    policy
        Of every replica, which gets a copy of its own.
    replicas
        How many.
    routing
        "round_robin", "least_outstanding", "power_of_two", "prefix_aware", or a `Router` of your own.
    where
        "here": in this process, one after the other on one device. "processes": each in a process of its own, on a GPU
        of its own if the device is CUDA. "ray": as actors on a cluster (`pip install cbviz[ray]`).
    address
        Of the cluster: "auto", HOST:PORT, ray://HOST:PORT, or None for one that is started here and shut down.
    slots, block_size, kv_blocks, prefix_cache
        Of every replica, as for a race.
    device, dtype
        As for `cbviz.models.load`.
    seed
        Of the draws of "power_of_two".

    Returns
    -------
    Replicated
        A trace for each replica, the answers, and what became of the requests of a replica that was lost: they were
        served again by another from the beginning, with the same answer.

    Raises
    ------
    WorkloadError
        Arrivals count iterations, or there is no such routing.
    SweepError
        Ray is not installed, does not answer, or has too few CPUs or GPUs.
    EngineError
        Every replica was lost.
    CbvizError
        The model or the memory cannot be had, or a request can never run.

    Examples
    --------
    >>> from cbviz import models
    >>> from cbviz.run.replicas import replicate
    >>> from cbviz.workload import task_workload
    >>> tiny = models.load("tiny")
    >>> found = replicate(task_workload(tiny.encode, 6, seed=1), tiny, replicas=2, slots=2)
    >>> [len(trace.requests) for trace in found.traces]
    [3, 3]
    """
    if not is_a(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    if workload.arrival_unit != "seconds":
        raise WorkloadError("replicas have no iterations in common; the workload's arrivals must be in seconds.")
    count = whole("replicas", replicas, 1, MOST_REPLICAS, error=WorkloadError)
    place = one_of("where", where, ("here", "processes", "ray"), error=WorkloadError)
    if place != "here" and not is_a(model, str):
        raise WorkloadError("where replicas do not run in this process, model must be a name: each loads its own.")
    if address is not None and place != "ray":
        raise WorkloadError(
            f"address is that of a Ray cluster, and where is {place!r}; leave it out, or pass where='ray'."
        )
    prefix = flag("prefix_cache", prefix_cache, error=WorkloadError)
    chosen = get(policy)
    rule = router_of(routing, seed=seed, block_size=block_size)
    shared = as_loaded(model, device=device, dtype=dtype, progress=False) if place == "here" else model
    clock = "lane" if place == "here" and count > 1 else "alone"
    setups = [
        ReplicaSetup(
            shared, fresh(chosen), workload, slots, block_size, kv_blocks, prefix, device, dtype, clock
        )
        for _ in range(count)
    ]  # fmt: skip
    with ExitStack() as stack:
        fleet = _started(setups, place, address, stack)
        moved = _serve(workload, fleet, rule)
        return _result(fleet, workload, rule, moved)


def _started(setups: list[ReplicaSetup], where: str, address: str | None, stack: ExitStack) -> list[_Live]:
    """All replicas, ready. They get ready at the same time."""
    places: list[Place] = []
    gpus = _gpus(setups[0]) if where != "here" else 0
    ray: Any = None
    if where == "ray":
        cpus = max(len(setups), os.cpu_count() or 1)
        ray = stack.enter_context(connected(address or "local", cpus, "a replica on Ray"))
        _check_room(ray, len(setups), gpus)
    elif where == "processes" and gpus and torch.cuda.device_count() < len(setups):
        raise WorkloadError(
            f"{len(setups)} replicas need a GPU each, and this machine has {torch.cuda.device_count()}; take fewer, or "
            "device='cpu'."
        )
    for number, setup in enumerate(setups):
        if where == "here":
            made: Place = Here(setup)
        elif where == "processes":
            made = InProcess(setup, number if gpus else None)
        else:
            made = OnRay(ray, setup, gpus)
        stack.callback(made.close)
        places.append(made)
    for each in places:
        each.ask("meta")
    fleet = []
    for number, each in enumerate(places):
        try:
            meta: TraceMeta = each.answer()
        except ReplicaLostError as lost:
            raise EngineError(f"replica {number} did not start: {lost}.") from None
        fleet.append(_Live(number, each, Recorder(meta), meta.slots))
    return fleet


def _gpus(setup: ReplicaSetup) -> int:
    """GPUs of a replica: 1 if the device that was asked for, or the one that would be chosen, is CUDA."""
    return int(torch.cuda.is_available() if setup.device is None else setup.device.startswith("cuda"))


def _check_room(ray: Any, count: int, gpus: int) -> None:
    """Ray would wait for ever for CPUs and GPUs that the cluster does not have."""
    from cbviz.errors import SweepError

    has = ray.cluster_resources()
    for kind, needed in (("CPU", count), ("GPU", count * gpus)):
        if has.get(kind, 0) < needed:
            raise SweepError(f"{count} replicas need {needed} {kind}s, and the Ray cluster has {has.get(kind, 0):g}.")


def _serve(workload: Workload, fleet: list[_Live], rule: Router) -> list[Moved]:
    """Route every request when it arrives, and serve until all have ended."""
    moved: list[Moved] = []
    at = -math.inf
    for request in workload:
        if request.arrival > at:
            at = request.arrival
            _advance(fleet, at, rule, moved)
        _send(request, fleet, rule, at, moved)
    while any(len(one.finished) < len(one.sent) for one in _living(fleet)):
        _advance(fleet, math.inf, rule, moved)
    return moved


def _living(fleet: list[_Live]) -> list[_Live]:
    living = [one for one in fleet if not one.lost]
    if not living:
        raise EngineError(f"every replica was lost; the last one because {fleet[-1].lost}.")
    return living


def _advance(fleet: list[_Live], until: float, rule: Router, moved: list[Moved]) -> None:
    """All replicas compute until a time on their clocks; requests of one that is lost go to the others."""
    living = _living(fleet)
    for one in living:
        one.place.ask("advance", until)
    lost = []
    for one in living:
        try:
            one.record(one.place.answer())
        except ReplicaLostError as why:
            one.lost = str(why)
            lost.append(one)
    for one in lost:
        _move_from(one, fleet, rule, moved)


def _send(request: Request, fleet: list[_Live], rule: Router, at: float, moved: list[Moved]) -> int:
    """Send a request to the replica that the rule chooses, or to the next choice if that one is lost."""
    while True:
        living = _living(fleet)
        seen = [one.seen(at) for one in living]
        try:
            number = rule.choose(replace(request, output_length=None), seen)  # no router knows how long an output is
        except Exception as error:
            raise WorkloadError(
                f"the routing {shown(getattr(rule, 'name', rule))} raised {type(error).__name__} when it "
                f"was asked where to send request {request.id}: {error}"
            ) from error
        chosen = next((one for one in living if one.number == number), None)
        if chosen is None:
            raise WorkloadError(
                f"the routing {shown(getattr(rule, 'name', rule))} chose replica {shown(number)}; it must be one of "
                f"{', '.join(str(one.number) for one in living)}."
            )
        chosen.place.ask("submit", request)
        try:
            chosen.place.answer()
        except ReplicaLostError as why:
            chosen.lost = str(why)
            _move_from(chosen, fleet, rule, moved)
            continue
        chosen.recorder.add_requests([request])
        chosen.sent[request.id] = request
        return chosen.number


def _move_from(lost: _Live, fleet: list[_Live], rule: Router, moved: list[Moved]) -> None:
    """Send what a lost replica had not answered to others, as arriving when it was last heard of."""
    for request in [one for one in lost.sent.values() if one.id not in lost.finished]:
        again = replace(request, arrival=max(request.arrival, lost.now))
        moved.append(Moved(request.id, lost.number, _send(again, fleet, rule, again.arrival, moved)))


def _result(fleet: list[_Live], workload: Workload, rule: Router, moved: list[Moved]) -> Replicated:
    """Traces and answers. The text of a lost replica's tokens comes from another: they have the same tokenizer."""
    living = _living(fleet)

    def pieces(tokens: Sequence[int]) -> list[str]:
        living[0].place.ask("pieces", list(tokens))
        found: list[str] = living[0].place.answer()
        return found

    by = {request: one for one in fleet for request in one.finished}
    answers = {request.id: tuple(by[request.id].outputs.get(request.id, ())) for request in workload}
    return Replicated(
        traces=tuple(one.recorder.trace(pieces) for one in fleet),
        answers=answers,
        replica_of={request.id: by[request.id].number for request in workload},
        routing=str(getattr(rule, "name", type(rule).__name__)),
        moved=tuple(moved),
        lost={one.number: one.lost for one in fleet if one.lost},
    )

"""What is asked: requests, laws of lengths, arrival processes, and whole workloads drawn from them."""

from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess, GammaBursty, Poisson
from cbviz.workload.lengths import (
    Empirical,
    ExponentialClipped,
    ExponentialTruncated,
    Fixed,
    LengthLaw,
    LogNormal,
    Uniform,
)
from cbviz.workload.request import ArrivalUnit, Request, Sampling, Workload
from cbviz.workload.synthetic import synthetic, yardstick

__all__ = [
    "AllAtOnce",
    "ArrivalProcess",
    "ArrivalUnit",
    "Empirical",
    "ExponentialClipped",
    "ExponentialTruncated",
    "Fixed",
    "GammaBursty",
    "LengthLaw",
    "LogNormal",
    "Poisson",
    "Request",
    "Sampling",
    "Uniform",
    "Workload",
    "synthetic",
    "yardstick",
]

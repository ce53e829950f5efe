"""Requests, laws of their lengths, arrival processes, and whole workloads drawn from them."""

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
from cbviz.workload.prompts import Prompt, prompt_workload, read_prompts
from cbviz.workload.questions import question_workload
from cbviz.workload.request import ArrivalUnit, Request, Sampling, Workload
from cbviz.workload.synthetic import synthetic, yardstick
from cbviz.workload.tasks import task_workload

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
    "Prompt",
    "Request",
    "Sampling",
    "Uniform",
    "Workload",
    "prompt_workload",
    "question_workload",
    "read_prompts",
    "synthetic",
    "task_workload",
    "yardstick",
]

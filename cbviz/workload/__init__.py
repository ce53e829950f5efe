"""Requests, laws of their lengths, arrival processes, and whole workloads drawn from them."""

from cbviz.workload.arrivals import AllAtOnce, ArrivalProcess, GammaBursty, Poisson
from cbviz.workload.fetching import PUBLIC_TRACES, download, fetch_trace
from cbviz.workload.files import FORMATS, read_results, read_traffic
from cbviz.workload.lengths import (
    Empirical,
    ExponentialClipped,
    ExponentialTruncated,
    Fixed,
    LengthLaw,
    LogNormal,
    Uniform,
)
from cbviz.workload.load_results import LoadResults, Served
from cbviz.workload.prompts import Prompt, prompt_workload, read_prompts
from cbviz.workload.questions import question_workload
from cbviz.workload.request import ArrivalUnit, Request, Sampling, Workload
from cbviz.workload.synthetic import synthetic, yardstick
from cbviz.workload.tasks import task_workload
from cbviz.workload.traffic import Traffic

__all__ = [
    "FORMATS",
    "PUBLIC_TRACES",
    "AllAtOnce",
    "ArrivalProcess",
    "ArrivalUnit",
    "Empirical",
    "ExponentialClipped",
    "ExponentialTruncated",
    "Fixed",
    "GammaBursty",
    "LengthLaw",
    "LoadResults",
    "LogNormal",
    "Poisson",
    "Prompt",
    "Request",
    "Sampling",
    "Served",
    "Traffic",
    "Uniform",
    "Workload",
    "download",
    "fetch_trace",
    "prompt_workload",
    "question_workload",
    "read_prompts",
    "read_results",
    "read_traffic",
    "synthetic",
    "task_workload",
    "yardstick",
]

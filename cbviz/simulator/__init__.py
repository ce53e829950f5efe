"""Serving on a virtual clock: what iterations cost, and schedules without a model.

`cost` turns an iteration into seconds, `cost_file` keeps a cost model, `step_cost` reads a step of the engine's loop.
`work` holds a workload as columns. `reserving`, `batches` and `growing` serve it without visiting every iteration.
"""

from cbviz.simulator.cost import CostModel, Extent, HeldOut, Origin
from cbviz.simulator.cost_file import load_cost, save_cost, shipped
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.work import Work

__all__ = ["CostModel", "Extent", "Forecast", "HeldOut", "Origin", "Work", "load_cost", "save_cost", "shipped"]

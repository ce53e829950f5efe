"""transformers' own continuous batching, recorded as our events; our policies in its scheduler.

`run` serves a workload and returns a `Trace`, which a board shows beside our lanes. `Recording` attaches to a
manager of the caller's own.
"""

from cbviz.adapters.transformers_cb.recording import Recording
from cbviz.adapters.transformers_cb.run import KNOWN_TRANSFORMERS, run

__all__ = ["KNOWN_TRANSFORMERS", "Recording", "run"]

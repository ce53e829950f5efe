"""Every error that cbviz raises on purpose.

Each message is one sentence that says what was wrong and what is allowed, fit to be shown to a learner as it stands.
The command line prints it and exits with code 2.
"""


class CbvizError(Exception):
    """The root of them all: `except CbvizError` catches whatever cbviz refuses."""


class WorkloadError(CbvizError, ValueError):
    """A request, a length law or an arrival process that makes no sense (empty prompt, negative rate, NaN)."""


class CapacityError(CbvizError, ValueError):
    """A request, a model or a context that can never fit; the message shows the arithmetic."""


class ModelError(CbvizError, ValueError):
    """A model that is unknown, cannot be loaded, or uses something that the engine cannot honour."""


class PolicyError(CbvizError, RuntimeError):
    """A policy raised, or planned something illegal; the message names the request and the rule."""

    named = False
    """Whether the message names the policy and the iteration, too."""


class EngineError(CbvizError, RuntimeError):
    """The executor failed in the middle of a run; every unfinished request is back in the queue."""


class AdapterError(CbvizError, RuntimeError):
    """Another engine that an adapter does not know, cannot read or cannot drive; the message says what was found."""


class FileError(CbvizError, OSError):
    """A path that cannot be read or written; the message names it and says why. Handlers of OSError catch it, too."""


class TraceError(CbvizError, ValueError):
    """A trace file that is truncated, edited, foreign or of an unknown version."""


class CalibrationError(CbvizError, ValueError):
    """A cost model that makes no sense, a calibration that is damaged, foreign or of another version, or traces that
    none can be fitted to."""


class MeasureError(CbvizError, ValueError):
    """A question about runs, or to a formula, that has no answer: runs of different work, zero slots, a load of 1."""


class SweepError(CbvizError, RuntimeError):
    """A sweep that cannot be planned, continued or distributed: an empty grid, another grid's folder, no cluster."""


class BrokenOff(BaseException):
    """Raised inside a learner's code that is broken off from outside.

    No `Exception`, so that the code's own `except` lets it through, and no `CbvizError`: what breaks off catches it.
    """

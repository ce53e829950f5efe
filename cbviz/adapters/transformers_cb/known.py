"""What `run` and `Recording` both require of transformers: a known version, a manager as it was, logits left alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import transformers
from transformers import PreTrainedModel

from cbviz.adapters.versions import KnownRange
from cbviz.checks import is_a, one_line, shown
from cbviz.eager.logit_rules import LogitRules
from cbviz.errors import AdapterError, ModelError
from cbviz.workload import Request

KNOWN_TRANSFORMERS = KnownRange("transformers", (5, 17), (5, 23))
ENGINE = "transformers' continuous batching"
DOUBLE_BUFFERED = ("cuda", "xpu")
"""Types of devices on which transformers can prepare a batch while another one runs."""
NEEDED = ("is_running", "generation_config", "continuous_batching_config", "_create_batch_processor")
"""Of a manager, which a recording needs."""


def check_version() -> None:
    """Raise AdapterError unless the installed transformers is known."""
    KNOWN_TRANSFORMERS.check(transformers.__version__)


def check_logits(model: PreTrainedModel, whose: str) -> None:
    """Refuse settings that change logits, because transformers may drop them without a word.

    Parameters
    ----------
    model
        With its generation config.
    whose
        Of the config, for the message.

    Raises
    ------
    AdapterError
        There is one; the message names it.
    ModelError
        A setting that no engine here honours.
    """
    if rules := LogitRules.of(model):
        raise AdapterError(
            f"the generation config of {whose} changes its logits ({rules}), which {ENGINE} may drop without a "
            "word; serve a model without such settings."
        )


def check_async(wanted: object, device: str) -> None:
    """Raise AdapterError if batches shall be prepared while others run, on a device that cannot."""
    if wanted and device not in DOUBLE_BUFFERED:
        raise AdapterError(
            f"async_batching needs a device of type {' or '.join(DOUBLE_BUFFERED)}, and this model is on {device}; "
            "leave it out."
        )


def check_manager(manager: Any) -> None:
    """Refuse what a recording cannot show, before anything runs. Raises AdapterError."""
    check_version()
    missing = [name for name in NEEDED if not _has(manager, name)]
    if missing:
        raise AdapterError(
            f"manager must be a ContinuousBatchingManager, as model.init_continuous_batching() makes it, not "
            f"{shown(manager)}, which has no {missing[0]}."
        )
    if manager.is_running() or getattr(manager, "batch_processor", None) is not None:
        raise AdapterError("this manager has started already; a recording begins before its first pass.")
    if (copies := getattr(manager, "num_return_sequences", 1)) != 1:
        raise AdapterError(
            f"num_return_sequences is {copies}, and the copies of a request share the rows of its prompt, which a "
            "board cannot show; ask for one sequence a request."
        )
    config = manager.continuous_batching_config
    if getattr(config, "cpu_offload_space", 0) != 0:
        raise AdapterError("cpu_offload_space moves KV caches to host memory unseen; set it to 0 for a recording.")
    model = getattr(manager, "model", None)
    if (device := getattr(model, "device", None)) is not None:
        check_async(getattr(config, "use_async_batching", False), str(device.type))
    facts = SimpleNamespace(generation_config=manager.generation_config, config=getattr(model, "config", None))
    try:
        check_logits(cast(PreTrainedModel, facts), "this manager")
    except ModelError as error:  # its advice is for cbviz's own engine
        said = one_line(error).partition(";")[0]
        raise AdapterError(f"{said}; make the manager with a generation config that leaves it out.") from None


def check_known(known: object) -> None:
    """Raise AdapterError unless it is the caller's requests by transformers' id, or None."""
    if known is None:
        return
    if not is_a(known, dict) or any(
        not is_a(name, str) or not is_a(request, Request) for name, request in cast(dict[Any, Any], known).items()
    ):
        raise AdapterError(f"known must be a dict of transformers' request id and Request, not {shown(known)}.")


def _has(manager: object, name: str) -> bool:
    try:
        return getattr(manager, name, None) is not None
    except Exception:  # a property of the caller's
        return False

"""Importing this silences torchao's import warnings: transformers imports torchao wherever it is installed.

torchao then warns about kernels for other machines, and about a registration that torch deprecates. Neither concerns
the user of a model. Other warnings of torchao, and its errors, still appear.
"""

from __future__ import annotations

import logging

CHATTER = ("Failed to load ", "is an Enum subclass and is now natively supported")


def _heard(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or not any(words in record.getMessage() for words in CHATTER)


for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).addFilter(_heard)

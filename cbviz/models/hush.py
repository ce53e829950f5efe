"""Importing this keeps torchao from chatting: transformers imports it, unasked, wherever it is installed.

It then tells of kernels that it brought for other machines, and of a way of registering that torch will drop. Neither
concerns anybody who runs a model. What torchao says afterwards, and its errors, are heard as ever.
"""

from __future__ import annotations

import logging

CHATTER = ("Failed to load ", "is an Enum subclass and is now natively supported")


def _heard(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or not any(words in record.getMessage() for words in CHATTER)


for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).addFilter(_heard)

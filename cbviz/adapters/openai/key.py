"""The key that an endpoint asks for: checked before anything is sent, and never quoted."""

from __future__ import annotations

import os
import re

from cbviz.errors import AdapterError

VARIABLE = "OPENAI_API_KEY"
"""Environment variable: sent as a bearer token if it is set."""
SECRET = 4
"""Characters from which on a key is taken out of sentences; a shorter one hides nothing, and may be any word."""
HIDDEN = f"[{VARIABLE}]"


class Key:
    """A bearer token.

    Parameters
    ----------
    value
        Its characters; "" is no key, and sends none.

    Raises
    ------
    AdapterError
        It holds a character that no header may have.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        bad = next((c for c in value if not "!" <= c <= "~"), None)
        if bad is not None:
            what = (
                "a line end"
                if bad in "\r\n"
                else "a blank"
                if bad in " \t"
                else "a control character"
                if bad.isascii()
                else "a character beyond ASCII"
            )
            raise AdapterError(f"the variable {VARIABLE} holds {what}, which no key may have; set it again without it.")
        self._value = value

    @staticmethod
    def of_environment() -> Key:
        """The key that the environment holds. Raises AdapterError as `Key` does."""
        return Key(os.environ.get(VARIABLE, ""))

    def __repr__(self) -> str:
        return f"<Key {'set' if self._value else 'not set'}>"

    def headers(self) -> dict[str, str]:
        """What a request says of it."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def scrub(self, text: str) -> str:
        """A text of an endpoint's or a library's without the key, however it is written there."""
        if len(self._value) < SECRET:
            return text
        return re.sub("".join(map(_written, self._value)), lambda _: HIDDEN, text)


def _written(c: str) -> str:
    """A pattern for a character as it is, or as JSON, Python and addresses may escape it."""
    return rf"(?:\\*{re.escape(c)}|(?:\\+(?:u00|x)|%)(?i:{ord(c):02x}))"

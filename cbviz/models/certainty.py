"""Which text later tokens may still change, learned from a decoder that is only a function of token ids.

Decoding is not monotone. With byte fallback (Llama 2, Mistral, Gemma) a run of byte tokens becomes text only if the
whole run is valid UTF-8: one bad byte at its end turns every byte of it into a replacement character. The clean-up of
English spacing (BERT) removes the space before a full stop that comes later. Decoding one more token reveals both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What decoders write for bytes that are not a complete character."""
HIGHEST = 2**18
"""The search covers token ids below this."""
UNKNOWN = 2**14
"""A run of this many ids that decode to nothing cannot be special tokens: it lies beyond the vocabulary."""
ENOUGH = 32
"""Breaking bytes to find, of which the middle one is taken: U+FFFD itself may also be a token of the vocabulary."""
SEARCHES = 4096
"""The most decodings of a search."""
TAIL = re.compile(r"(?: +n? *'? *| *n? *' *| +'[vr])\Z")
"""An end of text whose space clean-up may remove or restore: spaces, and prefixes of ' n't 'm 's 've 're."""


class Certainty:
    """What one decoder can still change. Make one per tokenizer and share it among its streams.

    Parameters
    ----------
    decode
        Turns token ids into text; the same ids always give the same text.
    cleans
        Whether it cleans up the spaces of English text; None finds out when a text ends so that it matters.
    """

    def __init__(self, decode: Decode, *, cleans: bool | None = None) -> None:
        self._decode = decode
        self._cleans = cleans
        self._breaker = self._middle(self._find(lambda text: text == INCOMPLETE, INCOMPLETE, ENOUGH))
        self._stops: list[int] | None = None
        self._closes: dict[int, bool] = {}

    def closes(self, token: int) -> bool:
        """Whether a token's own text is visible and final, whatever bytes follow; a run of bytes ends before it."""
        known = self._closes.get(token)
        if known is None:
            alone = self._decode([token])
            known = bool(alone.strip()) and INCOMPLETE not in alone
            if known and self._breaker is not None:
                known = self._decode([token, self._breaker]).startswith(alone)
            self._closes[token] = known
        return known

    def of(self, tokens: Sequence[int], text: str) -> int:
        """How many characters of `text`, the decoding of `tokens`, no later token can change."""
        certain = len(text)
        if tokens and not self.closes(tokens[-1]):
            certain = len(text.rstrip(INCOMPLETE))
            if certain and self._breaker is not None:
                broken = self._decode([*tokens, self._breaker])
                certain = min(certain, shared(text, broken))
        if self._cleans is not False and (tail := TAIL.search(text)) and self._may_clean(tokens, text):
            certain = min(certain, tail.start())
        return certain

    def _may_clean(self, tokens: Sequence[int], text: str) -> bool:
        """Whether clean-up may change the end of `text`: True until this decoder has left a space unchanged."""
        if self._cleans is None and text.endswith(" "):
            if self._stops is None:
                self._stops = self._find(lambda found: found == ".", ".", 4)  # some bring a space of their own
            word = next((token for token in tokens if self._decode([token]).isalnum()), None)
            if self._stops and word is not None:
                # A word after it shows that this decoder adds no spaces, one of which clean-up would remove.
                spaced = f"{text}.{self._decode([word])}"
                if all(self._decode([*tokens, stop, word]) == spaced for stop in self._stops):
                    self._cleans = False
        return self._cleans is not False

    # ------------------------------------------------------------------ searching the vocabulary

    def _find(self, wanted: Callable[[str], bool], sign: str, most: int) -> list[int]:
        """The first ids whose own text is wanted; `sign` occurs in the text of every range that contains one."""
        found: list[int] = []
        ranges = [(0, 256)]
        while 2 * ranges[-1][1] <= HIGHEST:
            ranges.append((ranges[-1][1], 2 * ranges[-1][1]))
        ranges.reverse()
        for _ in range(SEARCHES):
            if not ranges or len(found) >= most:
                break
            low, high = ranges.pop()
            text = self._text(low, high)
            if text == "" and high - low >= UNKNOWN:
                break  # beyond the vocabulary
            if text is not None and sign not in text:
                continue
            if high - low > 1:
                middle = (low + high) // 2
                ranges += [(middle, high), (low, middle)]
            elif text is None:
                break
            elif wanted(text):
                found.append(low)
        return found

    def _text(self, low: int, high: int) -> str | None:
        """The text of a range of ids; None if the decoder refuses it."""
        try:
            return self._decode(range(low, high))
        except Exception:  # decoders differ in what they raise for unknown ids
            return None

    @staticmethod
    def _middle(ids: list[int]) -> int | None:
        return ids[len(ids) // 2] if ids else None


def shared(one: str, other: str) -> int:
    """Length of the longest common prefix."""
    if other.startswith(one):
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

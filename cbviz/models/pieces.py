"""From tokens to text, one token at a time.

A token is not always a piece of text by itself: a Chinese character or an emoji may be spread over several tokens, and
some tokenizers write a word's leading space only inside a sentence. So the text that a token *adds* is the difference
between two decodings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What decoders write for bytes that are no whole character yet."""

LOOK_BACK = 6
"""Tokens before the new ones that are decoded with them, so that spaces between words come out as in the whole text."""


class PieceStream:
    """Gives the text that each token adds, as tokens come.

    `add` holds back the bytes of an unfinished character until its last token is there; `end` returns what is still
    held back. Costs the decoding of a few tokens each time, however long the text is.

    Parameters
    ----------
    decode
        Turns token ids into text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._recent: list[int] = []  # tokens whose text is out, kept as context for the next
        self._held: list[int] = []  # tokens whose text is not out yet

    def add(self, token: int) -> str:
        """Return the text that `token` adds, "" if it adds none or its character is not complete."""
        self._held.append(token)
        return self._release(final=False)

    def end(self) -> str:
        """Return what an answer that stops in the middle of a character still holds back."""
        return self._release(final=True) if self._held else ""

    def _release(self, final: bool) -> str:
        before = self._decode(self._recent)
        after = self._decode([*self._recent, *self._held])
        if after.endswith(INCOMPLETE) and not final:
            return ""
        self._recent = [*self._recent, *self._held][-LOOK_BACK:]
        self._held = []
        return after[len(before) :]


def pieces(decode: Callable[[Sequence[int]], str], ids: Sequence[int]) -> list[str]:
    """Cut decode(ids) into as many pieces as there are ids; the joined pieces are exactly decode(ids).

    A character that needs several tokens belongs to the last of them.
    """
    if not ids:
        return []
    whole = decode(ids)
    stream = PieceStream(decode)
    lengths = [len(stream.add(token)) for token in ids]
    cut, result = 0, []
    for length in lengths[:-1]:
        result.append(whole[cut : cut + length])
        cut += len(result[-1])
    return [*result, whole[cut:]]

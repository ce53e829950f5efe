"""From tokens to text, one token at a time.

A token is not always a piece of text by itself: a Chinese character or an emoji may take several tokens, and some
tokenizers write a word's leading space only inside a sentence. So the text that a token *adds* is the difference
between two decodings, up to the point where later tokens can change it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.models.certainty import INCOMPLETE, Certainty, Decode

LOOK_BACK = 6
"""Earlier tokens that are decoded with the new ones, so that spaces between words are as in the whole text."""
PATIENT = 12
"""From this many held tokens on, the stream no longer tries at every token whether their text is certain."""


class PieceStream:
    """The text that each token adds, as tokens arrive.

    `add` returns text that has become certain and holds back text that a later token may still change: an unfinished
    character, a run of byte tokens (one bad byte changes all of it), a space that clean-up may remove. `end` returns
    the rest. Together they join to `decode` of all tokens. Each token costs the decoding of a few, however long the
    text is.

    Parameters
    ----------
    decode
        Turns token ids into text.
    certainty
        What is known about this decoder; None finds out, which costs some hundred decodings.

    Examples
    --------
    A decoder of UTF-8 bytes: é takes two tokens.

    >>> from cbviz.models.detokenizer import PieceStream
    >>> stream = PieceStream(lambda ids: bytes(i for i in ids if i < 256).decode("utf-8", "replace"))
    >>> [stream.add(byte) for byte in "né!".encode()]
    ['n', '', 'é', '!']
    """

    def __init__(self, decode: Decode, certainty: Certainty | None = None) -> None:
        self._decode = decode
        self._certainty = Certainty(decode) if certainty is None else certainty
        self._ids: list[int] = []
        self._length = 0  # characters returned
        self._context: list[int] = []  # tokens whose text was returned, kept to decode the next ones after them
        self._before = ""  # the text of the context
        self._held: list[int] = []  # tokens whose text was not fully returned yet
        self._shown = 0  # characters of it that were returned
        self._next_try = 0  # held tokens at which to try again

    def add(self, token: int) -> str:
        """Add a token.

        Parameters
        ----------
        token
            The next token id.

        Returns
        -------
        str
            The text that has become certain; "" if there is none.
        """
        self._ids.append(token)
        self._held.append(token)
        if len(self._held) < self._next_try and not self._certainty.closes(token):
            return ""
        tokens = [*self._context, *self._held]
        after = self._decode(tokens)
        out = len(self._before) + self._shown
        certain = self._certainty.of(tokens, after) if len(after) > out else 0
        if certain <= out or not after.startswith(self._before):
            # A try decodes all held tokens. Growing steps keep the cost of all tries at a few times n.
            held = len(self._held)
            self._next_try = held + held // 4 if held >= PATIENT else 0
            return ""
        self._length += certain - out
        self._shown += certain - out
        self._next_try = 0
        if certain == len(after):
            self._move_on(tokens, after)
        return after[out:certain]

    def end(self) -> str:
        """End the answer, or a part of it; more tokens may follow.

        Returns
        -------
        str
            The text held back.
        """
        if not self._held:
            return ""
        whole = self._decode(self._ids)
        rest = whole[self._length :]
        self._length = max(self._length, len(whole))
        tokens = [*self._context, *self._held]
        self._move_on(tokens, self._decode(tokens))
        return rest

    def _move_on(self, tokens: list[int], text: str) -> None:
        """All text was returned: held tokens become context, and a long context is cut."""
        self._context, self._before, self._held, self._shown, self._next_try = tokens, text, [], 0, 0
        length = LOOK_BACK
        while len(tokens) > 4 * length:
            kept = tokens[-length:]
            cut = self._decode(kept)
            # After its first token, which may lose a space, a good cut reads like the text: it does not split a
            # character or a run of bytes.
            behind_first = cut[len(self._decode(kept[:1])) :]
            if behind_first and text.endswith(behind_first) and INCOMPLETE not in cut:
                self._context, self._before = kept, cut
                return
            length *= 2


def pieces(decode: Decode, ids: Sequence[int], certainty: Certainty | None = None) -> list[str]:
    """Cut decode(ids) into one piece per id; the joined pieces are exactly decode(ids).

    A character that needs several tokens belongs to the last of them; with byte fallback, to the token that ends the
    run of bytes. `certainty` as for `PieceStream`.
    """
    if not ids:
        return []
    whole = decode(ids)
    stream = PieceStream(decode, certainty)
    lengths = [len(stream.add(token)) for token in ids]
    cut, result = 0, []
    for length in lengths[:-1]:
        result.append(whole[cut : cut + length])
        cut += len(result[-1])
    return [*result, whole[cut:]]

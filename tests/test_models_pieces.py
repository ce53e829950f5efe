from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers import models as token_models
from tokenizers.pre_tokenizers import ByteLevel

from cbviz.models.pieces import PieceStream, pieces

BYTES = {character: i for i, character in enumerate(sorted(ByteLevel.alphabet()))}
BYTE_TOKENIZER = Tokenizer(token_models.BPE(vocab=BYTES, merges=[]))
BYTE_TOKENIZER.pre_tokenizer = ByteLevel(add_prefix_space=False)
BYTE_TOKENIZER.decoder = decoders.ByteLevel()
"""One byte a token: the worst case, every character beyond ASCII takes several tokens."""

WORDS = Tokenizer(token_models.WordLevel(vocab={"▁the": 0, "▁cat": 1, "s": 2, "▁": 3}, unk_token="s"))
WORDS.decoder = decoders.Metaspace()
"""Drops the space before the first word, as sentencepiece does."""


def decode_bytes(ids: Sequence[int]) -> str:
    return BYTE_TOKENIZER.decode(list(ids))


def decode_words(ids: Sequence[int]) -> str:
    return WORDS.decode(list(ids))


def test_a_character_belongs_to_its_last_token() -> None:
    ids = BYTE_TOKENIZER.encode("a你😀!").ids
    assert len(ids) == 1 + 3 + 4 + 1
    assert pieces(decode_bytes, ids) == ["a", "", "", "你", "", "", "", "😀", "!"]


def test_spaces_between_words_are_kept() -> None:
    assert pieces(decode_words, [0, 1, 2, 0, 1]) == ["the", " cat", "s", " the", " cat"]


def test_an_answer_cut_inside_a_character_loses_nothing() -> None:
    ids = BYTE_TOKENIZER.encode("hi 😀").ids[:-1]
    cut = pieces(decode_bytes, ids)
    assert len(cut) == len(ids)
    assert "".join(cut) == decode_bytes(ids)
    assert "".join(cut).startswith("hi \N{REPLACEMENT CHARACTER}")

    stream = PieceStream(decode_bytes)
    streamed = "".join(stream.add(token) for token in ids)
    assert streamed == "hi "
    assert streamed + stream.end() == decode_bytes(ids)
    assert stream.end() == ""


def test_no_tokens_no_pieces() -> None:
    assert pieces(decode_bytes, []) == []
    assert PieceStream(decode_bytes).end() == ""


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_pieces_of_any_text_join_to_it(text: str) -> None:
    ids = BYTE_TOKENIZER.encode(text).ids
    cut = pieces(decode_bytes, ids)
    assert len(cut) == len(ids)
    assert "".join(cut) == decode_bytes(ids) == text
    stream = PieceStream(decode_bytes)
    assert "".join(stream.add(token) for token in ids) + stream.end() == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=40))
def test_pieces_of_any_bytes_join_to_their_decoding(ids: list[int]) -> None:
    cut = pieces(decode_bytes, ids)
    assert len(cut) == len(ids)
    assert "".join(cut) == decode_bytes(ids)


@pytest.mark.parametrize("ids", [[3, 3, 0], [2, 3, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
def test_pieces_of_any_words_join_to_their_decoding(ids: list[int]) -> None:
    assert "".join(pieces(decode_words, ids)) == decode_words(ids)

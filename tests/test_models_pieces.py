from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers import models as token_models
from tokenizers.pre_tokenizers import ByteLevel

from cbviz.models import load
from cbviz.models.certainty import Certainty
from cbviz.models.detokenizer import PieceStream, pieces
from tests.tokenizers_of_each_kind import KINDS, of_kind

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


@cache
def certainty(kind: str) -> Certainty:
    return Certainty(of_kind(kind)[0])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_streamed_text_joins_to_the_decoded_text(kind: str, data: st.DataObject) -> None:
    """Whatever the tokenizer, whatever the tokens: cut characters, invalid bytes, special tokens in a row."""
    decode, size = of_kind(kind)
    some = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12))
    ids = data.draw(st.lists(st.sampled_from(some) | st.integers(0, size - 1), max_size=60))
    stream = PieceStream(decode, certainty(kind))
    assert "".join(stream.add(token) for token in ids) + stream.end() == decode(ids)
    assert stream.end() == ""
    cut = pieces(decode, ids, certainty(kind))
    assert len(cut) == len(ids)
    assert "".join(cut) == decode(ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=6) | st.sampled_from("é你😀A").map(str.encode), max_size=12))
def test_any_bytes_between_words_join(parts: list[bytes]) -> None:
    decode, _ = of_kind("byte fallback")
    ids: list[int] = []
    for part in parts:
        ids += [1 + byte for byte in part]
        ids += [257 + len(part) % 3]  # ▁Hi, ▁a or !
    stream = PieceStream(decode)
    assert "".join(stream.add(token) for token in ids) == decode(ids), "a word ends a run: nothing is held back"
    assert stream.end() == ""


def test_text_comes_as_soon_as_it_is_certain() -> None:
    decode, _ = of_kind("byte fallback")
    a, word = [1 + byte for byte in "你A".encode()], 257
    stream = PieceStream(decode)
    # One bad byte behind them would turn all four into replacement characters.
    assert [stream.add(token) for token in [word, *a, word, 1 + 0x80]] == ["Hi", "", "", "", "", "你A Hi", ""]
    assert stream.end() == "\N{REPLACEMENT CHARACTER}"

    level, _ = of_kind("byte level, special tokens shown")
    ids = [token for token in range(256 + 4) if level([token]) == "A"][:1] * 3
    assert [PieceStream(level).add(token) for token in ids] == ["A"] * 3

    cleaned, size = of_kind("word piece, cleaned up by transformers")
    names = {cleaned([token]): token for token in range(size)}
    stream = PieceStream(cleaned)
    assert [stream.add(names[name]) for name in ("it", "'", "s", ".")] == ["it", "", "'s", "."]


def test_text_that_was_taken_for_certain_stays_when_a_stream_goes_on_after_its_end() -> None:
    stream = PieceStream(decode_bytes)
    ids = BYTE_TOKENIZER.encode("a😀 b").ids
    text = "".join(stream.add(token) for token in ids[:3]) + stream.end()
    assert text == decode_bytes(ids[:3])
    assert stream.add(BYTES["z"]) == "z"


@pytest.mark.parametrize("kind", ["byte level", "byte fallback", "word piece, cleaned up by transformers", "tiny"])
@pytest.mark.parametrize("what", ["words", "bad bytes", "special tokens"])
def test_a_long_answer_costs_a_few_decodings_a_token(kind: str, what: str) -> None:
    decode, size = of_kind(kind)
    decoded = 0

    def counting(ids: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return decode(ids)

    known = Certainty(counting, cleans=False)
    token = {"words": size // 2, "bad bytes": 140, "special tokens": size - 4}[what] % size
    stream = PieceStream(counting, known)
    decoded = 0
    text = "".join([stream.add(token) for _ in range(4096)])
    assert decoded < 4096 * 120
    assert text + stream.end() == decode([token] * 4096)


def test_a_prompt_longer_than_the_tokenizer_knows_brings_no_warning_of_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import transformers.tokenization_utils_base as base

    warned: list[object] = []
    monkeypatch.setattr(base.logger, "warning", lambda *words, **_: warned.append(words))
    model = load("tiny", device="cpu", dtype="float32", progress=False)
    monkeypatch.setattr(model.tokenizer, "model_max_length", 4)
    assert len(model.encode("Count to 7")) > 4
    assert warned == []
    model.tokenizer("Count to 7")  # type: ignore[misc]
    assert len(warned) == 1, "this is where transformers would have warned"

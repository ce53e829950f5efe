"""Small tokenizers of every kind that language models come with, made here: their decoders are what matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cbviz.models import load

Decode = Callable[[Sequence[int]], str]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<s>", "</s>", "<|im_start|>"]
TEXT = [
    "don't stop, it 's 3 . 5 !",
    "鑫淼焱 你好 世界",
    "naïve café 😀😀 🇩🇪",
    "def f(x):\n    return  x  # ' ' n't",
] * 4


def numbered(*tokens: str) -> dict[str, int]:
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def decoding(tokenizer: Tokenizer, *, skip: bool = True, clean: bool = False) -> tuple[Decode, int]:
    """A decoder as models are served with, and how many ids it knows."""
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken(" added ", special=False)])
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=clean,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=clean,
    )

    def decode(ids: Sequence[int]) -> str:
        return str(fast.decode(list(ids), skip_special_tokens=skip, clean_up_tokenization_spaces=clean))

    return decode, tokenizer.get_vocab_size()


def byte_fallback(*words: str, bytes_last: bool = False, **options: bool) -> tuple[Decode, int]:
    """As Llama 2, Mistral and Gemma have it: what is no word is spelled in bytes."""
    names = ["<unk>", *words, *BYTES] if bytes_last else ["<unk>", *BYTES, *words]
    tokenizer = Tokenizer(models.BPE(numbered(*names), [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return decoding(tokenizer, **options)


def byte_level(size: int, **options: bool) -> tuple[Decode, int]:
    """As GPT-2, SmolLM2, Qwen and Llama 3 have it: every token is a piece of UTF-8, not always whole characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<|endoftext|>", *SPECIAL]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return decoding(tokenizer, **options)


def word_piece(cleanup: bool, **options: bool) -> tuple[Decode, int]:
    """As BERT has it; with clean-up a space goes when a full stop comes."""
    words = ["do", "n't", "not", "##ing", "##s", "it", "'", "s", "n", "t", "##t", ".", ",", "!", "m", "ve", "re", "a"]
    tokenizer = Tokenizer(models.WordPiece(numbered("[UNK]", *words), unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    return decoding(tokenizer, **options)


def metaspace(scheme: str, **options: bool) -> tuple[Decode, int]:
    """As T5 and XLNet have it: SentencePiece's Unigram, a word's space written as ▁."""
    pieces = ["<unk>", "▁", "▁▁", "▁the", "▁cat", "s", ".", "▁'", "'", "▁n", "'t", "é", "你", "▁▁a", "a▁"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 0))
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return decoding(tokenizer, **options)


def suffixes(**options: bool) -> tuple[Decode, int]:
    """As GPT-1 and CLIP have it: a word ends with </w>, which is a space unless it is the last."""
    tokenizer = Tokenizer(models.BPE(numbered("<unk>", "the</w>", "c", "at</w>", "s</w>", ".</w>", "n", "'t</w>"), []))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return decoding(tokenizer, **options)


def stripping(left: int, **options: bool) -> tuple[Decode, int]:
    """Spaces at the start of the whole text go, as many as it says; a run of spaces within a token is one."""
    words = ["<unk>", "▁", "▁▁", "a", "▁b", "c▁", "▁.", ".", "'"]
    tokenizer = Tokenizer(models.WordLevel(numbered(*words), unk_token="<unk>"))
    parts = [decoders.Replace(Regex("▁+"), " "), decoders.Fuse(), decoders.Strip(" ", left, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return decoding(tokenizer, **options)


def tiny(**_: bool) -> tuple[Decode, int]:
    loaded = load("tiny", device="cpu", progress=False)
    return loaded.decode, loaded.vocabulary


WORDS = ("▁Hi", "▁a", "!", "▁", "▁▁", "▁'", "▁n", "a▁", ".", "鑫")
KINDS: dict[str, Callable[[], tuple[Decode, int]]] = {
    "byte fallback": lambda: byte_fallback(*WORDS),
    "byte fallback, bytes last": lambda: byte_fallback("\N{REPLACEMENT CHARACTER}", *WORDS, bytes_last=True),
    "byte fallback, special tokens shown": lambda: byte_fallback(*WORDS, skip=False),
    "byte fallback, cleaned up": lambda: byte_fallback(*WORDS, clean=True),
    "byte level, cleaned up": lambda: byte_level(330, clean=True),
    "byte level": lambda: byte_level(420),
    "byte level, special tokens shown": lambda: byte_level(300, skip=False),
    "word piece": lambda: word_piece(True),
    "word piece, cleaned up twice": lambda: word_piece(True, clean=True),
    "word piece, cleaned up by transformers": lambda: word_piece(False, clean=True),
    "unigram, always": lambda: metaspace("always"),
    "unigram, first": lambda: metaspace("first", skip=False),
    "unigram, never": lambda: metaspace("never"),
    "unigram, cleaned up": lambda: metaspace("always", clean=True),
    "word endings": suffixes,
    "strip 1 left": lambda: stripping(1),
    "strip 5 left": lambda: stripping(5),
    "strip 2 left, cleaned up": lambda: stripping(2, clean=True),
    "tiny": tiny,
}


@cache
def of_kind(name: str) -> tuple[Decode, int]:
    """A decoder of a kind, and how many ids it knows."""
    return KINDS[name]()

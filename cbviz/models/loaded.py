"""A model that is ready to be served, with what an engine needs to know about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cbviz.checks import shown
from cbviz.errors import ModelError
from cbviz.models.certainty import Certainty
from cbviz.models.detokenizer import PieceStream, pieces
from cbviz.paths import printable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A causal language model in evaluation mode, its tokenizer, and where it lives.

    Parameters
    ----------
    name
        The name it was loaded by: "tiny", "random:opt-13b", a Hugging Face id.
    model
        A causal LM of transformers, without gradients.
    tokenizer
        None for random weights, which have no text.
    device, dtype
        Where the weights are, and their number format.
    weights
        "int8" if the layers' weights are stored in int8 (see `cbviz.models.int8`); "" if they are stored as `dtype`.
    note
        A sentence on the choice of device, such as why the GPU here cannot be used; or "".

    Examples
    --------
    >>> import cbviz
    >>> tiny = cbviz.models.load("tiny", device="cpu")
    >>> ids = tiny.encode("Spell cat")
    >>> len(ids), tiny.decode(ids), tiny.chat
    (10, 'Spell cat\\n', True)
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    device: torch.device
    dtype: torch.dtype
    weights: str = ""
    note: str = ""

    def __repr__(self) -> str:
        stored = f" with {self.weights} weights" if self.weights else ""
        dtype = str(self.dtype).removeprefix("torch.")
        return printable(f"<LoadedModel {self.name}: {type(self.model).__name__} in {dtype}{stored} on {self.device}>")

    def encode(self, text: str) -> list[int]:
        """Turn text into prompt tokens; for a chat model, into one user turn with its template.

        Parameters
        ----------
        text
            The prompt; not blank.

        Returns
        -------
        list[int]
            Token ids, at least one.

        Raises
        ------
        ModelError
            The model has no tokenizer, the text is blank or yields no token, or the chat template fails.
        """
        tokenizer = self._needed_tokenizer()
        if not isinstance(text, str) or not text.strip():
            raise ModelError(f"a prompt must be a text that is not empty, not {shown(text)}.")
        asked = text
        if self.chat:
            turns = [{"role": "user", "content": text}]
            try:
                asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # a template is a small program by the model's authors
                raise ModelError(f"the chat template of {self.name} fails on {shown(text)}: {error}") from error
        # A template writes the special tokens itself. Of a prompt that is too long, we say so where the limit is known.
        ids = [int(i) for i in tokenizer(asked, add_special_tokens=not self.chat, verbose=False)["input_ids"]]
        if not ids:
            raise ModelError(f"the tokenizer of {self.name} makes no token of {shown(text)}.")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turn output tokens into text, without special tokens such as END.

        Parameters
        ----------
        ids
            Token ids.

        Returns
        -------
        str
            The text.

        Raises
        ------
        ModelError
            The model has no tokenizer.
        """
        tokenizer = self._needed_tokenizer()
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds.

        A character of several tokens belongs to the last of them.

        Parameters
        ----------
        ids
            Token ids.

        Returns
        -------
        list[str]
            One string per id; joined, they are decode(ids).

        Raises
        ------
        ModelError
            The model has no tokenizer.
        """
        return pieces(self.decode, ids, self._certainty)

    def stream(self) -> PieceStream:
        """Start decoding one answer, token by token.

        Returns
        -------
        PieceStream
            Takes one token at a time and returns its text.

        Raises
        ------
        ModelError
            The model has no tokenizer.
        """
        self._needed_tokenizer()
        return PieceStream(self.decode, self._certainty)

    @cached_property
    def _certainty(self) -> Certainty:
        """Learned once, shared by all streams: `decode` leaves spaces as they are."""
        return Certainty(self.decode, cleans=False)

    @property
    def chat(self) -> bool:
        """Whether prompts are turns of a conversation: the tokenizer has a chat template."""
        return self.tokenizer is not None and bool(self.tokenizer.chat_template)

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The END tokens, at which `model.generate` stops; () if the model has none.

        Raises ModelError if the configuration names anything but token ids.
        """
        from cbviz.models.served import end_tokens_of  # loads transformers

        return end_tokens_of(self.model, self.tokenizer, self.name)

    @cached_property
    def context_limit(self) -> int:
        """The most positions that a sequence may have. Raises ModelError if the configuration does not say."""
        from cbviz.models.served import context_limit  # loads transformers

        return context_limit(self.model)[0]

    @property
    def vocabulary(self) -> int:
        """Number of token ids: prompts use 0 … vocabulary − 1."""
        return int(self._config.vocab_size)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values per position of a sequence, summed over the layers that a probe pass saw.

        Usually that is 2 · layers · KV heads · head size · bytes per number. OPT-13B in 16 bits: 2 · 40 · 40 · 128 · 2
        = 819,200, the article's "about 1 MB a token". For an outline without weights (on the meta device) the formula
        is used. Raises ModelError for a model that the engine cannot serve.
        """
        from cbviz.models.served import attention_needs, on_meta  # loads transformers

        if not on_meta(self.model):
            return attention_needs(self.model).numbers * self.dtype.itemsize
        config = self._config
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        return 2 * int(config.num_hidden_layers * kv_heads * head_size) * self.dtype.itemsize

    @cached_property
    def parameters(self) -> int:
        """Number of parameters; weights shared by two layers count once."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all parameters as stored: what every forward pass reads at least once.

        (Of the embedding table a pass reads only a few rows, unless the output layer shares it.)
        """
        return sum(stored_bytes(p) for p in self.model.parameters())

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config()

    def _needed_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ModelError(f"{self.name} has no tokenizer: it takes token ids and writes no text.")
        return self.tokenizer


def stored_bytes(parameter: Tensor) -> int:
    """Bytes of a parameter as stored; a quantised one consists of several tensors."""
    if not hasattr(parameter, "__tensor_flatten__"):
        return parameter.numel() * parameter.element_size()
    parts, _ = parameter.__tensor_flatten__()
    return sum(stored_bytes(getattr(parameter, part)) for part in parts)

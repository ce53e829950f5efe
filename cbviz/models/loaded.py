"""A model that is ready to be served, with what an engine has to know about it."""

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
from cbviz.models.pieces import PieceStream, pieces

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A causal language model in evaluation mode, its tokenizer, and where it lives.

    Parameters
    ----------
    name
        What it was asked for by: "tiny", "random:opt-13b", a Hugging Face id.
    model
        A causal LM of transformers; its parameters want no gradients.
    tokenizer
        None for random weights: they know no text.
    device, dtype
        Where the weights lie, and as what.
    weights
        "int8" if the layers' weights are stored in int8 (see `cbviz.models.int8`); "" if they are as `dtype` says.
    note
        Why it lies where it lies, if that needs saying: a sentence, such as that the GPU here cannot be used; or "".
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    device: torch.device
    dtype: torch.dtype
    weights: str = ""
    note: str = ""

    def encode(self, text: str) -> list[int]:
        """Turn what a person wrote into prompt tokens: for chat models one user turn, ready for the answer.

        Raises ModelError if the model has no tokenizer, or if nothing is left to tokenize.
        """
        tokenizer = self._needed_tokenizer()
        if not isinstance(text, str) or not text.strip():
            raise ModelError(f"a prompt must be a text that is not empty, not {text!r}.")
        asked = text
        if self.chat:
            turns = [{"role": "user", "content": text}]
            try:
                asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # a template is a small program of the model's makers
                raise ModelError(f"the chat template of {self.name} fails on {text!r}: {error}") from error
        # A template writes the special tokens itself.
        ids = [int(i) for i in tokenizer(asked, add_special_tokens=not self.chat)["input_ids"]]
        if not ids:
            raise ModelError(f"the tokenizer of {self.name} makes no token of {text!r}.")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turn output tokens into text, special tokens such as END left out. Raises ModelError without a tokenizer."""
        tokenizer = self._needed_tokenizer()
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Say what each token adds to the text: len(ids) strings that join to decode(ids).

        A character that is spread over several tokens belongs to the last of them. Raises ModelError without a
        tokenizer.
        """
        return pieces(self.decode, ids, self._certainty)

    def stream(self) -> PieceStream:
        """Start turning one answer into text, token by token, as it comes. Raises ModelError without a tokenizer."""
        self._needed_tokenizer()
        return PieceStream(self.decode, self._certainty)

    @cached_property
    def _certainty(self) -> Certainty:
        """Learned once, shared by all streams: `decode` leaves spaces as they are."""
        return Certainty(self.decode, cleans=False)

    @property
    def chat(self) -> bool:
        """Whether prompts are turns of a conversation: the tokenizer brings a chat template."""
        return self.tokenizer is not None and bool(self.tokenizer.chat_template)

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that mean END, those at which `model.generate` stops; () for a model that knows none.

        Raises ModelError if they are no token ids.
        """
        end: Any = self.model.generation_config.eos_token_id
        if end is None and self.tokenizer is not None:
            end = self.tokenizer.eos_token_id
        if end is None:
            return ()
        ends = tuple(end) if isinstance(end, (list, tuple)) else (end,)
        if not all(isinstance(i, int) and 0 <= i < 2**31 for i in ends):
            raise ModelError(f"the end-of-sequence token of {self.name} must be a token id, or some, not {shown(end)}.")
        return ends

    @cached_property
    def context_limit(self) -> int:
        """The most positions that a sequence may have. Raises ModelError if the configuration does not say."""
        from cbviz.models.served import context_limit  # loads transformers

        return context_limit(self.model)[0]

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows: prompts use 0 … vocabulary − 1."""
        return int(self._config.vocab_size)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one position of one sequence takes, as a probe pass saw them, layer by layer.

        Mostly that is 2 · layers · KV heads · head size · bytes a number. OPT-13B in 16 bits: 2 · 40 · 40 · 128 · 2 =
        819,200, the article's "about 1 MB a token". An outline without weights (on the meta device) is taken by that
        formula. Raises ModelError for a model that the engine cannot serve.
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
        """How many parameters it has; weights that two layers share count once."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all parameters as they lie in memory: what every forward pass reads at least once.

        (Of the embedding table a pass reads a few rows only, unless the output layer shares it.)
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
    """Bytes of a parameter as it lies in memory; a quantised one consists of several tensors."""
    if not hasattr(parameter, "__tensor_flatten__"):
        return parameter.numel() * parameter.element_size()
    parts, _ = parameter.__tensor_flatten__()
    return sum(stored_bytes(getattr(parameter, part)) for part in parts)

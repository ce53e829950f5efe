"""Rules that a model's generation configuration lays on the logits, before a token is chosen.

Each gives the numbers of transformers' logits processor of that name, in transformers' order, in float32. What a rule
has to know of a request is its tokens so far, the prompt included, and nothing that the host would have to wait for: so
the rules run inside a CUDA graph, on tokens that the host has not seen.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from cbviz.eager.generation_config import refusal, settings
from cbviz.limits import MOST_TOKENS


@dataclass(frozen=True, slots=True)
class LogitRules:
    """The rules of a model.

    Parameters
    ----------
    repetition_penalty
        Positive logits of tokens that the prompt or the output has are divided by it, negative ones multiplied; 1 is
        off.
    no_repeat_ngram_size
        No sequence of so many tokens comes twice, the prompt counted in; 0 is off.
    min_length
        No end while prompt and output together have fewer tokens.
    min_new_tokens
        No end while the output has fewer tokens. Both hold back END and the request's own stop tokens. An output of a
        forced length is not ended by tokens, so nothing is held back there.
    suppress_tokens, begin_suppress_tokens
        Token ids that are never chosen, and those that are not chosen first.
    """

    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_length: int = 0
    min_new_tokens: int = 0
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: PreTrainedModel) -> LogitRules:
        """The rules in a model's generation configuration.

        Raises
        ------
        ModelError
            A setting that would change a greedy answer and is not honoured, or a value that makes no sense.
        """
        given = settings(model)
        if "min_new_tokens" in given:  # transformers lets it take the place of min_length
            given.pop("min_length", None)
        for name, value in given.items():
            given[name] = _checked(name, value)
        return cls(**given)

    def chosen(self) -> dict[str, Any]:
        """The rules that are on, with their values."""
        off = asdict(LogitRules())
        return {name: value for name, value in asdict(self).items() if value != off[name]}

    def __bool__(self) -> bool:
        return self != NO_RULES

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {list(value) if isinstance(value, tuple) else value}" for name, value in self.chosen().items()
        )

    @property
    def reads_history(self) -> bool:
        """Whether a rule asks which tokens a request has."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram_size > 0

    @property
    def holds_back_ends(self) -> bool:
        """Whether a rule keeps outputs from ending early."""
        return self.min_length > 0 or self.min_new_tokens > 0


NO_RULES = LogitRules()


class SlotRules:
    """The rules at work: what they need on the device, and for each slot the tokens that would end its request.

    Parameters
    ----------
    rules
        At least one.
    slots
        Rows of the executor's tables.
    vocabulary
        Logits of a row.
    end_tokens
        What ends outputs, besides a request's own stop tokens.
    """

    def __init__(
        self, rules: LogitRules, *, slots: int, vocabulary: int, end_tokens: tuple[int, ...], device: torch.device
    ) -> None:
        self.rules = rules
        self._never = _mask(rules.suppress_tokens, vocabulary, device)
        self._not_first = _mask(rules.begin_suppress_tokens, vocabulary, device)
        self._end = _mask(end_tokens, vocabulary, device)
        self._ends = (
            torch.zeros((slots, vocabulary), dtype=torch.bool, device=device) if rules.holds_back_ends else None
        )

    @classmethod
    def made(
        cls, rules: LogitRules, model: PreTrainedModel, slots: int, end_tokens: tuple[int, ...]
    ) -> SlotRules | None:
        """The rules at work on a model; None where there is no rule, so that nothing is allocated or computed."""
        if not rules:
            return None
        vocabulary = output_vocabulary(model)
        return cls(rules, slots=slots, vocabulary=vocabulary, end_tokens=end_tokens, device=model.device)

    def seat(self, slot: int, stops: tuple[int, ...] | None) -> None:
        """A request takes a slot; `stops` are its own stop tokens, None if its length is forced."""
        if self._ends is None:
            return
        self._ends[slot] = False
        if stops is not None:
            own = _mask(stops, self._ends.shape[1], self._ends.device) if stops else False
            self._ends[slot] = self._end | own

    def apply(self, logits: Tensor, slot: Tensor, history: Tensor | None, length: Tensor, index: Tensor) -> Tensor:
        """What the logits are under the rules.

        Parameters
        ----------
        logits
            [R, vocabulary].
        slot, length, index
            int64 [R]: the slot of each row, its tokens so far, and the index of the output token that is chosen.
        history
            Integers [R, W]: its tokens in the first `length` places, anything behind them. None where no rule reads it.

        Returns
        -------
        Tensor
            float32 [R, vocabulary].
        """
        scores, rules = logits.float(), self.rules
        if history is not None:
            history = history.long()
            if rules.repetition_penalty != 1:
                scores = penalised(scores, history, length, rules.repetition_penalty)
            if rules.no_repeat_ngram_size:
                scores = without_repeats(scores, history, length, rules.no_repeat_ngram_size)
        if self._ends is not None:
            early = (length < rules.min_length) | (index < rules.min_new_tokens)
            scores = scores.masked_fill(early.unsqueeze(1) & self._ends[slot], -math.inf)
        if rules.suppress_tokens:
            scores = scores.masked_fill(self._never, -math.inf)
        if rules.begin_suppress_tokens:
            scores = scores.masked_fill((index == 0).unsqueeze(1) & self._not_first, -math.inf)
        return scores


def penalised(scores: Tensor, history: Tensor, length: Tensor, penalty: float) -> Tensor:
    """Logits of tokens in the first `length` places of the history, made smaller by the penalty (CTRL, 2019, §4.1)."""
    vocabulary = scores.shape[1]
    place = torch.arange(history.shape[1], device=history.device)
    # What lies behind the tokens goes to a column that is cut off, as do tokens that have no logit.
    seen = torch.where(place < length.unsqueeze(1), history.clamp(max=vocabulary), vocabulary)
    padded = pad(scores, (0, 1))
    here = padded.gather(1, seen)
    here = torch.where(here < 0, here * penalty, here / penalty)
    return padded.scatter(1, seen, here)[:, :vocabulary]


def without_repeats(scores: Tensor, history: Tensor, length: Tensor, size: int) -> Tensor:
    """Logits without the tokens that would complete a sequence of `size` tokens for the second time."""
    vocabulary, width = scores.shape[1], history.shape[1]
    if width < size:
        return scores
    starts = width - size + 1
    again = torch.arange(size - 1, width, device=history.device) < length.unsqueeze(1)
    for k in range(size - 1):
        latest = history.gather(1, (length - size + 1 + k).clamp(min=0).unsqueeze(1))
        again = again & (history[:, k : k + starts] == latest)
    banned = torch.where(again, history[:, size - 1 :].clamp(max=vocabulary), vocabulary)
    return pad(scores, (0, 1)).scatter(1, banned, -math.inf)[:, :vocabulary]


def output_vocabulary(model: PreTrainedModel) -> int:
    """Logits that a model gives for a token."""
    head = model.get_output_embeddings()
    return int((model.get_input_embeddings() if head is None else head).weight.shape[0])


def _mask(tokens: tuple[int, ...], vocabulary: int, device: torch.device) -> Tensor:
    """bool [vocabulary]: these tokens, those left out that the model does not have."""
    mask = torch.zeros(vocabulary, dtype=torch.bool)
    mask[[token for token in tokens if 0 <= token < vocabulary]] = True
    return mask.to(device)


def plain(value: Any) -> Any:
    """What numpy and torch call a number or a list of numbers, as Python does; everything else as it is."""
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def _checked(name: str, value: Any) -> Any:
    """A setting's value as the rules want it; raises ModelError."""
    value = plain(value)
    if name == "repetition_penalty":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise refusal(name, value, "must be a finite number above 0")
        return float(value)
    if name in ("suppress_tokens", "begin_suppress_tokens"):
        tokens = (value,) if isinstance(value, int) else value
        if not isinstance(tokens, (list, tuple)) or not all(type(token) is int for token in tokens):
            raise refusal(name, value, "must be a list of token ids")
        return tuple(tokens)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refusal(name, value, "must be a whole number of at least 0")
    return min(value, MOST_TOKENS)  # no output is as long as that

"""Drawing a token: temperature, top-k and top-p, with noise that depends on the request's seed and position alone.

The Gumbel-max trick: argmax(logits / temperature + Gumbel noise) is a draw from the softmax. The noise of output
position i is a pure function of (seed, i, token id): integer arithmetic that gives the same bits on a CPU, on a GPU and
inside a CUDA graph, in any batch, without a generator whose state another request could advance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.workload.request import COLDEST

HOTTEST = float(torch.finfo(torch.float32).max)
"""The highest temperature that the device is given."""
MOST_TOP_K = 2**62
"""The largest top_k that the device is given: more than any vocabulary has."""
_MASK = 0xFFFFFFFF


def draw(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, seed: Tensor, position: Tensor) -> Tensor:
    """Draw one token a row.

    Parameters
    ----------
    logits
        [R, vocabulary], any floating type.
    temperature, top_p
        float32 [R]. A temperature below `COLDEST` takes the argmax of the logits.
    top_k
        int64 [R]; 0 is off.
    seed
        int64 [R]: each request's own.
    position
        int64 [R]: index of the output token that is drawn.

    Returns
    -------
    Tensor
        int64 [R].

    Notes
    -----
    Filters follow transformers' order: temperature, then top-k, then top-p over what is left. The token that crosses
    the probability p is kept, and so is always the most likely one.

    The largest logit is subtracted before dividing: at any temperature the best score is then 0, and the others fall to
    minus infinity at worst, where dividing first would leave several of them infinite and their softmax undefined.
    """
    warm = temperature >= COLDEST
    best_first, order = logits.float().sort(dim=-1, descending=True, stable=True)
    ranked = (best_first - best_first[:, :1]) / torch.where(warm, temperature, 1.0).unsqueeze(1)
    rank = torch.arange(ranked.shape[1], device=ranked.device)
    keep = (top_k == 0).unsqueeze(1) | (rank < top_k.unsqueeze(1))
    probability = ranked.masked_fill(~keep, -torch.inf).softmax(-1)
    before = probability.cumsum(-1) - probability
    keep &= (before < top_p.unsqueeze(1)) | (rank == 0)
    noise = gumbel(seed.unsqueeze(1), position.unsqueeze(1), order)
    drawn = (ranked + noise).masked_fill(~keep, -torch.inf).argmax(-1, keepdim=True)
    return torch.where(warm, order.gather(1, drawn).squeeze(1), order[:, 0])


def gumbel(seed: Tensor, position: Tensor, token: Tensor) -> Tensor:
    """float32: standard Gumbel noise of (seed, position, token id), broadcast; the bits depend on nothing else."""
    bits = hash32(seed, position, token)
    # 24 bits fill a float32's mantissa; the half keeps the uniform number away from 0 and 1.
    uniform = ((bits >> 8).to(torch.float32) + 0.5) * 2.0**-24
    return -torch.log(-torch.log(uniform))


def hash32(seed: Tensor, position: Tensor, token: Tensor) -> Tensor:
    """int64 holding 32 well-mixed bits of three int64 numbers (a counter-based generator)."""
    state = _mix(seed & _MASK)
    state = _mix(state ^ ((seed >> 32) & _MASK))
    state = _mix(state ^ (position & _MASK))
    return _mix(state ^ (token & _MASK))


def _mix(bits: Tensor) -> Tensor:
    """A 32-bit finaliser after an offset; its multipliers are those of Wellons' hash prospector (2018).

    int64 products wrap around alike on every device, and only their low 32 bits are kept.
    """
    bits = (bits + 0x9E3779B9) & _MASK
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & _MASK
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & _MASK
    return bits ^ (bits >> 16)

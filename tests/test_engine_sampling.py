"""Sampling: noise that is a pure function of seed, position and token; draws that follow the softmax."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cbviz.eager.drawing import draw, gumbel, hash32
from cbviz.eager.sampling import most_likely


def mixed(bits: int) -> int:
    bits = (bits + 0x9E3779B9) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return bits ^ (bits >> 16)


def reference(seed: int, position: int, token: int) -> int:
    """The same hash in Python's whole numbers, which never overflow."""
    state = mixed(seed & 0xFFFFFFFF)
    state = mixed(state ^ (seed >> 32))
    state = mixed(state ^ position)
    return mixed(state ^ token)


def draws(logits: Tensor, n: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """n draws from the same logits, at positions 0 … n - 1."""
    return draw(
        logits.expand(n, -1),
        torch.full((n,), temperature),
        torch.full((n,), top_k),
        torch.full((n,), top_p),
        torch.full((n,), 7),
        torch.arange(n),
    )


def test_the_bits_are_those_of_exact_arithmetic() -> None:
    for seed in (0, 1, 2**31 + 5, 2**63 - 1):
        for position in (0, 3, 511):
            tokens = torch.tensor([0, 1, 77, 128_255])
            bits = hash32(torch.tensor(seed), torch.tensor(position), tokens)
            assert bits.tolist() == [reference(seed, position, token) for token in tokens.tolist()]


def test_noise_depends_on_nothing_but_its_three_numbers() -> None:
    seeds, positions, tokens = torch.arange(3)[:, None, None], torch.arange(4)[:, None], torch.arange(5)
    everything = gumbel(seeds, positions, tokens)
    assert everything.shape == (3, 4, 5)
    assert len(everything.unique()) == 60
    alone = gumbel(torch.tensor(2), torch.tensor(3), torch.tensor(4))
    assert torch.equal(everything[2, 3, 4], alone)


def test_noise_is_gumbel() -> None:
    """Mean 0.5772 (Euler's constant), variance π²/6; four standard errors."""
    noise = gumbel(torch.tensor(1), torch.arange(500)[:, None], torch.arange(400)).double()
    assert torch.isfinite(noise).all()
    n = noise.numel()
    assert abs(float(noise.mean()) - 0.577216) < 4 * math.sqrt(math.pi**2 / 6 / n)
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.03


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    for temperature in (0.5, 1.0, 2.0):
        n = 20_000
        share = draws(logits, n, temperature).bincount(minlength=5) / n
        expected = (logits / temperature).softmax(-1)
        assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt() + 1e-3).all()


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    off = torch.zeros(6, dtype=torch.int64)
    assert torch.equal(draw(logits, torch.zeros(6), off, torch.ones(6), off, off), logits.argmax(-1))


def test_top_k_and_top_p_keep_what_they_should() -> None:
    logits = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]).log()
    assert set(draws(logits, 3000, top_k=2).tolist()) == {0, 1}
    assert set(draws(logits, 3000, top_k=1).tolist()) == {0}
    assert set(draws(logits, 3000, top_p=0.6).tolist()) == {0, 1}, "the token that crosses p stays"
    assert set(draws(logits, 3000, top_p=1e-6).tolist()) == {0}, "the most likely token always stays"
    assert set(draws(logits, 3000, top_k=4, top_p=0.9).tolist()) == {0, 1, 2}
    assert set(draws(logits, 3000, top_k=99).tolist()) == {0, 1, 2, 3, 4}


def test_rows_do_not_disturb_each_other() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 40, generator=generator)
    settings = (
        torch.tensor([0.0, 1.0, 0.7, 1.3] * 2),
        torch.tensor([0, 5, 0, 3] * 2),
        torch.tensor([1.0, 0.9, 0.5, 1.0] * 2),
        torch.arange(8) * 11,
        torch.arange(8),
    )
    together = draw(logits, *settings)
    for row in range(8):
        alone = draw(logits[row : row + 1], *(setting[row : row + 1] for setting in settings))
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("vocabulary", [7, 128, 1000, 49152])
def test_the_most_likely_token_is_the_first_of_the_largest(vocabulary: int) -> None:
    logits = torch.randint(0, 5, (6, vocabulary), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(most_likely(logits), torch.tensor([row.tolist().index(row.max()) for row in logits]))

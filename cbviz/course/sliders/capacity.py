"""Notebook 03: what fits on a card beside the weights."""

from __future__ import annotations

import re
from functools import cache
from html import escape

from cbviz.course.knobs import Knobs
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import said
from cbviz.course.words import say
from cbviz.measure import kv_bytes_per_token
from cbviz.view.colours import INK, colour_of, text_on
from cbviz.view.svg import image

MODELS = ("opt-13b", "llama-3.1-8b", "qwen3-0.6b")
CARDS = (16, 24, 40, 48, 80, 141)
"""GB of memory of cards that are sold."""
BITS = (4, 8, 16, 32)
LENGTHS = (512, 1024, 2048, 4096, 8192, 32_768)
LEFT, WIDE, HIGH = 14, 700, 54
MOST_DRAWN = 60
GREY = "#666c74"


def capacity() -> Knobs:
    """A card's memory as a bar, with sliders for the model, the card, the bits of a weight, and the tokens of a
    sequence.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows a 13B model in 16 bits on a card of 40 GB.
    """

    def picture(model: str = "opt-13b", card_gb: int = 40, bits: int = 16, length: int = 2048) -> Shown:
        weights, per_token = _billions(model) * bits / 8, _bytes_a_token(model)
        left = card_gb - weights
        facts = {"weights": f"{weights:.3g}", "card": card_gb, "left": f"{left:.3g}", "length": f"{length:,}"}
        if left < 0:
            sentence = say("capacity none", **facts)
            return Shown(_bar(card_gb, weights, 0, 0) + said(sentence), sentence)
        tokens = int(left * 1e9 / per_token)
        sequences = tokens // length
        sentence = say(
            "capacity",
            n=sequences,
            sequences=f"{sequences:,}",
            kib=f"{per_token / 1024:g}",
            tokens=f"{tokens:,}",
            **facts,
        )
        return Shown(_bar(card_gb, weights, sequences, length * per_token / 1e9) + said(sentence), sentence)

    values = {"model": MODELS, "card_gb": CARDS, "bits": BITS, "length": LENGTHS}
    return Knobs(picture, values, {"model": "opt-13b", "card_gb": 40, "bits": 16, "length": 2048})


def _billions(model: str) -> float:
    """Billions of weights, as the model's name says."""
    found = re.search(r"([\d.]+)b$", model)
    assert found, model
    return float(found[1])


@cache
def _bytes_a_token(model: str) -> int:
    """Keys and values of one token in 16 bits."""
    from cbviz.models.shapes import SHAPES

    config = SHAPES[model]()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(kv_bytes_per_token(config.num_hidden_layers, heads, size, bytes_per_value=2))


def _bar(card: float, weights: float, sequences: int, each: float) -> str:
    """The card's memory: the weights grey, then sequences; what is left over stays empty."""
    scale = WIDE / max(card, weights)
    parts = [_box(LEFT, weights * scale, GREY, say("capacity weights", gb=f"{weights:.3g}"), "#ffffff")]
    x = LEFT + weights * scale
    if sequences > MOST_DRAWN:
        parts.append(_box(x, sequences * each * scale, colour_of(0), f"{sequences:,}", text_on(colour_of(0))))
    else:
        parts += [
            _box(x + i * each * scale, each * scale, colour_of(i), str(i + 1), text_on(colour_of(i)))
            for i in range(sequences)
        ]
    end = LEFT + card * scale
    parts.append(
        f'<rect x="{LEFT}" y="4" width="{card * scale:.1f}" height="{HIGH}" fill="none" stroke="{INK}" '
        'stroke-width="2"/>'
        f'<text x="{end:.1f}" y="{HIGH + 22}" text-anchor="end" fill="{INK}">{card:g} GB</text>'
    )
    size = (LEFT + WIDE + 20, HIGH + 30)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-size="13" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
    return image(svg, "", size)


def _box(x: float, wide: float, colour: str, words: str, ink: str) -> str:
    rect = f'<rect x="{x + 0.5:.1f}" y="5" width="{max(wide - 1, 0.3):.1f}" height="{HIGH - 2}" fill="{colour}"/>'
    if wide < 8 * len(words) + 2:
        return rect
    return (
        f'{rect}<text x="{x + wide / 2:.1f}" y="{HIGH / 2 + 9:.1f}" text-anchor="middle" fill="{ink}" '
        f'font-weight="600">{escape(words)}</text>'
    )

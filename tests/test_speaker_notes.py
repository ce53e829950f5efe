"""The deck of `cbviz slides`: a picture and notes for each recording, in both languages, with the run's own counts."""

from __future__ import annotations

import re

import pytest

import cbviz
from cbviz.messages import languages
from cbviz.speaker_notes import NOTES, deck
from cbviz.trace import RECORDINGS


@pytest.mark.parametrize("language", languages())
def test_every_recording_has_a_slide_a_picture_and_notes_with_its_counts(language: str) -> None:
    head, opening, *slides = re.split(r"^---$", deck(language).removeprefix("---\n"), flags=re.MULTILINE)
    assert "marp: true" in head
    assert opening.count("<!--") == opening.count("-->") == 1
    assert set(NOTES) == set(RECORDINGS)
    for name, slide in zip(NOTES, slides, strict=True):
        assert f"]({name}.gif)" in slide
        (notes,) = re.findall(r"<!--(.*)-->", slide, flags=re.DOTALL)
        for lane in cbviz.recorded(name):
            assert f"{len(lane.iterations):,}" in notes, f"{name}, {lane.meta.policy}"


def test_the_languages_differ() -> None:
    assert "Ask first" in deck("en")
    assert "先问" in deck("zh")

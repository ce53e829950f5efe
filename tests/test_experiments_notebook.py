"""What a notebook keeps of a live run, without a notebook: outputs that are replaced, and hosts that want preparing."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cbviz.errors import CbvizError
from cbviz.models import LoadedModel, load
from cbviz.run.notebook import CellOutputs, prepare_host
from cbviz.run.play import play
from cbviz.run.race import race
from tests.clocks import HANGS, until


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


class Display:
    """Stands where IPython's display stands, and remembers."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.replaced: list[dict[str, Any]] = []

    def __call__(self, data: dict[str, Any], **options: Any) -> Any:
        assert options["raw"]
        assert options["display_id"]
        self.shown.append(data)
        return SimpleNamespace(update=lambda other, raw: self.replaced.append(other))

    def wait(self, count: int) -> None:
        """A caller that waits for a race may see its end before its outputs are replaced."""
        until(lambda: len(self.replaced) >= count)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    seen = Display()
    monkeypatch.setattr("IPython.display.display", seen)
    return seen


def test_what_was_shown_live_is_replaced_by_what_can_be_kept(tiny: LoadedModel, display: Display) -> None:
    lanes = race(tiny, slots=2, requests=4, live=True, run=False)
    lanes._ipython_display_()
    lanes._ipython_display_()
    kinds = {
        "application/vnd.jupyter.widget-view+json",
        "text/html",
        "text/plain",
    }  # HTML is a still, where it is saved
    assert [set(data) for data in display.shown] == [kinds] * 2
    assert display.replaced == []
    lanes.start().wait(HANGS)
    display.wait(2)
    assert [set(data) for data in display.replaced] == [{"text/html", "text/plain"}] * 2
    assert "4/4 requests" in display.replaced[0]["text/plain"]
    with pytest.raises(NotImplementedError):
        lanes._ipython_display_()  # IPython takes the mime bundle then


def test_a_playground_is_kept_too(tiny: LoadedModel, display: Display) -> None:
    made = play(tiny, slots=2, mean=5, iterations=12, pace=240, live=True, run=False)
    made._ipython_display_()
    made.start().wait(HANGS)
    display.wait(1)
    assert "static: 12 iterations" in display.replaced[0]["text/plain"]


def test_a_race_that_broke_keeps_why(tiny: LoadedModel, display: Display) -> None:
    class Broken:
        name, summary = "broken", "raises at once"

        def plan(self, view: Any) -> Any:
            raise ValueError("oops")

    lanes = race(tiny, [Broken()], slots=2, requests=4, live=True, run=False)
    lanes._ipython_display_()
    lanes.start()
    with pytest.raises(CbvizError, match="oops"):
        lanes.wait(HANGS)
    display.wait(1)
    (kept,) = display.replaced
    assert "oops" in kept["text/plain"] or "broken: 0 iterations" in kept["text/plain"]


def test_colab_is_asked_for_its_widget_manager_and_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    prepare_host()
    output = SimpleNamespace(enable_custom_widget_manager=lambda: asked.append(True))
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(output=output))
    prepare_host()
    assert asked == [True]


def test_replacing_twice_replaces_once(display: Display) -> None:
    outputs = CellOutputs()
    outputs.show(SimpleNamespace(_repr_mimebundle_=lambda: ({"text/plain": "live"}, {})))
    outputs.replace({"text/plain": "kept"})
    outputs.replace({"text/plain": "again"})
    assert display.replaced == [{"text/plain": "kept"}]

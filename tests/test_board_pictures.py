"""Pictures: valid, small, the same for the same run, and true to the shares of the states."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import fields, replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageFont

from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.messages import as_json, say
from cbviz.policies import POLICIES, Orca, RequestLevel, Static
from cbviz.view import Board, colours, fonts, look, raster
from cbviz.view.grid import coarse
from cbviz.view.language import RACE, RUN
from cbviz.view.picture import _fill, png, svg
from tests.fake_runs import scheduled_trace, wild_trace
from tests.node import node, shipped_module

SVG = "{http://www.w3.org/2000/svg}"


def test_python_and_the_page_use_the_same_colours_and_words():
    script = f"""
        import * as b from {json.dumps(shipped_module())};
        const pale = (t) => b.PALETTE.map((c) => [b.stalledGround(c, t), b.stalledInk(c, t)]);
        const stalled = Object.values(b.THEMES).map(pale);
        const words = ["en", "zh"].map((l) => b.STATE_WORDS.map((w) => b.say(l, w)));
        const [inks, texts] = [b.PALETTE.map(b.inkOn), b.PALETTE.map(b.textOn)];
        console.log(JSON.stringify([b.PALETTE, b.THEMES, inks, texts, stalled, words]));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, check=True)
    palette, themes, inks, texts, stalled, words = json.loads(done.stdout)
    assert tuple(palette) == colours.PALETTE
    for ours, theirs in ((colours.LIGHT, themes["light"]), (colours.DARK, themes["dark"])):
        for name in (field.name for field in fields(ours)):
            value = getattr(ours, name)
            assert theirs[name] == (list(value) if isinstance(value, tuple) else value), name
    assert inks == [colours.ink_on(colour) for colour in palette]
    assert texts == [colours.text_on(colour) for colour in palette]
    assert stalled == [
        [[colours.stalled_ground(c, theme), colours.stalled_ink(c, theme)] for c in palette]
        for theme in (colours.LIGHT, colours.DARK)
    ]
    assert words == [[say(language, f"board.{key}") for key in look.STATE_WORDS] for language in ("en", "zh")]


@pytest.mark.parametrize("dark", [False, True])
def test_svg_draws_every_decode_span_in_its_colour(dark):
    trace = scheduled_trace([3, 6, 2, 3], 4, "static")
    picture = ElementTree.fromstring(svg([trace], dark=dark))
    assert picture.tag == SVG + "svg"
    scale = (1000 - 36 - 16) / (6 * 1.01)
    rects = [
        (r.get("fill"), float(r.get("x", 0)), float(r.get("width", "0").rstrip("%")))
        for r in picture.iter(SVG + "rect")
    ]
    for id, length in enumerate([3, 6, 2, 3]):
        wanted = (colours.colour_of(id), pytest.approx(scale, abs=0.02), pytest.approx((length - 1) * scale, abs=0.02))
        assert wanted in rects
    assert sum(fill == "url(#p4)" for fill, *_ in rects) >= 3, "three slots are held"


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128, 256])
def test_the_next_request_of_a_row_is_of_another_colour(slots):
    """Static batches give row r the requests r, r + slots, r + 2 * slots, …"""
    for row in range(slots):
        assert colours.colour_of(row) != colours.colour_of(row + slots) != colours.colour_of(row + 2 * slots)
        assert colours.colour_of(row) != colours.colour_of(row + 2 * slots)


def test_a_request_is_called_by_its_own_label_where_its_prompt_is_one():
    run = scheduled_trace([9, 12, 7], 2, "continuous")
    prompts = ("S1", "S2 and more", "Hi")
    named = replace(run, requests=replace(run.requests, prompt=prompts))
    assert look.labels(named) == {0: "S1", 1: "1", 2: "2"}
    assert ">S1<" in svg([named], width=1000)
    assert ">1<" in svg([named], width=1000)


def test_svg_is_the_same_for_the_same_run_and_speaks_both_languages():
    run = wild_trace(3)
    assert svg([run]) == svg([wild_trace(3)])
    assert "槽位占用率" in svg([run], language="zh")
    ElementTree.fromstring(svg([run, run], width=360))


def test_svg_holds_hostile_names_as_text():
    run = wild_trace(3)
    evil = replace(run, meta=replace(run.meta, policy='<script>alert(1)</script>" \x00\u202e' + "x" * 500))
    drawn = ElementTree.fromstring(svg([evil]))
    assert not list(drawn.iter(SVG + "script"))
    assert any("<script>" in (text.text or "") for text in drawn.iter(SVG + "text"))
    assert "\u202e" not in svg([evil])


def test_large_runs_become_columns_and_stay_small():
    run = scheduled_trace([1 + i % 50 for i in range(8000)], 64)
    picture = svg([run])
    assert "data:image/png;base64," in picture
    assert len(picture) < 300_000


def test_columns_keep_the_share_of_every_state():
    run = scheduled_trace([1 + (i * 7) % 60 for i in range(800)], 16, "static")
    state, _ = look.dense(run)
    pixels = coarse(run, 300, 6, len(run.iterations), colours.LIGHT)
    shades = np.array([colours.rgb(colours.LIGHT.held[0]), colours.rgb(colours.LIGHT.held[1])])
    held = (pixels[..., None, :3] == shades).all(-1).any(-1).mean()
    assert held == pytest.approx((state == State.HELD).mean(), abs=0.02)
    assert (pixels[..., 3] == 255).all()


def test_png_is_what_the_standard_says():
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    data = png(pixels)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (3, 2, 8, 6, 0, 0, 0)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert rows[1:13] == pixels[0].tobytes()
    assert rows[14:26] == pixels[1].tobytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"traces": []}, "at least one run"),
        ({"width": 10}, "width must be"),
        ({"width": True}, "width must be"),
        ({"language": "fr"}, "language must be"),
    ],
)
def test_nonsense_is_refused(arguments, sentence):
    with pytest.raises(CbvizError, match=sentence):
        svg(**({"traces": [wild_trace(1)]} | arguments))


def test_numbers_are_written_short():
    assert not re.search(r"\d\.\d{3,}", svg([wild_trace(2)]).split("<defs>")[1].split("data:")[0])


def test_a_png_has_the_requests_colours_where_they_ran(tmp_path):
    run = scheduled_trace([3, 6, 2, 3], 4, "static")
    image = Image.open(Board(run).to_png(tmp_path / "run.png", width=600, scale=2))
    assert image.size[0] == 1200
    unit = (600 - 36 - 20) / (6 * 1.01)
    place = (int((36 + 4.3 * unit) * 2), ((40 + 24 + 3) * 2))
    assert image.getpixel(place) == colours.rgb(colours.colour_of(1)), "request 1 decodes in slot 1"
    held = image.getpixel((int((36 + 4.5 * unit) * 2) + 4, (40 + 2) * 2))
    assert held == colours.rgb(colours.LIGHT.held[0]), "slot 0 is held"


def test_a_gif_grows_from_nothing_to_the_whole_run(tmp_path):
    run = scheduled_trace([30, 6, 2, 3], 4, "static")
    path = Board(run, run).to_gif(tmp_path / "run.gif", width=400, seconds=2, rate=10, dark=True)
    image = Image.open(path)
    assert image.n_frames == 20
    shares = []
    for frame in (0, 10, 19):
        image.seek(frame)
        pixels = np.asarray(image.convert("RGB")).astype(int)
        blue = np.abs(pixels - colours.rgb(colours.colour_of(0))).sum(axis=-1) < 30
        shares.append(blue[40:60].mean())
    assert shares[0] < 0.01 < shares[1] < shares[2]
    assert path.stat().st_size < 200_000


def test_large_runs_become_pixels_too(tmp_path):
    run = scheduled_trace([1 + i % 50 for i in range(4000)], 64)
    assert Board(run).to_png(tmp_path / "run.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": 0}, "rate must be"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"width": 3}, "width must be"),
    ],
)
def test_gifs_that_make_no_sense_are_refused(tmp_path, options, sentence):
    with pytest.raises(CbvizError, match=sentence):
        Board(wild_trace(1)).to_gif(tmp_path / "run.gif", **options)


def test_without_pillow_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(CbvizError, match="pip install pillow"):
        Board(wild_trace(1)).to_png(tmp_path / "run.png")


def test_every_built_in_policy_is_summed_up_in_chinese_too():
    texts = [make().summary for make in POLICIES.values()] + [Static(run_to=9).summary, RequestLevel(4).summary]
    from cbviz.run.play_run import TITLE

    texts += [Orca(reserve=scheme).summary for scheme in ("power_of_two", "maximum")] + [RACE, RUN, TITLE]
    script = f"""
        import * as b from {json.dumps(shipped_module())};
        console.log(JSON.stringify({json.dumps(list(map(as_json, texts)))}.map((text) => b.inWords("zh", text))));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, check=True)
    for english, chinese in zip(texts, json.loads(done.stdout), strict=True):
        assert re.search("[\u4e00-\u9fff]", chinese), english
        assert not re.search("[\u4e00-\u9fff][,;:!?]", chinese), f"half-width punctuation: {chinese}"


def test_pictures_speak_chinese_in_a_font_that_has_it(tmp_path):
    run = scheduled_trace([3, 6, 2, 3], 4, "static")
    font = next((name for name in fonts.CHINESE_FONTS if _installed(name)), None)
    if font is None:
        with pytest.raises(CbvizError, match="no font for it is installed"):
            Board(run, language="zh").to_png(tmp_path / "zh.png")
        return
    english, chinese = (
        np.asarray(Image.open(Board(run, language=language).to_png(tmp_path / f"{language}.png", width=600)))
        for language in ("en", "zh")
    )
    legend = slice(-60, None)
    assert (english[legend] != chinese[legend]).any()
    # Every sign is drawn as itself: a font that lacks it would draw the same box for all of them.
    drawn = {bytes(ImageFont.truetype(font, 24).getmask(sign)) for sign in "预填充解码空闲迭代槽位占用率"}
    assert len(drawn) == len("预填充解码空闲迭代槽位占用率")
    Board(run, language="zh").to_gif(tmp_path / "zh.gif", width=400, seconds=1, rate=4)


def _installed(name: str) -> bool:
    try:
        ImageFont.truetype(name, 12)
    except OSError:
        return False
    return True


def test_without_a_font_for_chinese_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("cbviz.view.fonts.CHINESE_FONTS", ("no-such-font.ttc",))
    with pytest.raises(CbvizError, match="fonts-noto-cjk"):
        Board(wild_trace(1), language="zh").to_png(tmp_path / "zh.png")
    with pytest.raises(CbvizError, match="language must be"):
        raster.png([wild_trace(1)], tmp_path / "fr.png", language="fr")
    assert Board(wild_trace(1)).to_png(tmp_path / "en.png").exists()


@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_neighbouring_states_differ_at_three_to_one(name):
    """Every state but decode has a texture, and its ink stands out from its ground at 3:1 or more (WCAG 2.2, 1.4.11).

    Decode alone is plain. So of two states beside each other at least one shows a mark that the other has not.
    """
    theme = getattr(colours, name)
    for colour in colours.PALETTE:
        textures = {
            "spare": theme.spare,
            "wasted": theme.wasted,
            "held": theme.held,
            "prefill": (colour, colours.ink_on(colour)),
            "recompute": (colour, colours.ink_on(colour)),
            "stalled": (colours.stalled_ground(colour, theme), colours.stalled_ink(colour, theme)),
        }
        for state, (ground, ink) in textures.items():
            assert colours.contrast(ground, ink) >= 3, f"{state} of {colour}"
        assert colours.contrast(colours.text_on(colour), colour) >= 4.5
    assert colours.contrast(theme.end, theme.ground) >= 3


def test_no_two_states_have_the_same_texture():
    script = f"""
        import * as b from {json.dumps(shipped_module())};
        console.log(JSON.stringify([...b.INKED]));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], capture_output=True, check=True)
    inked = np.array(json.loads(done.stdout)).reshape(8, 48)
    plain = [State.DECODE, State.STALLED, look.CLOSED]  # stalled is paler than any; closed is not drawn at all
    textured = [state for state in range(8) if state not in plain]
    assert not inked[plain].any()
    assert len({tuple(inked[state]) for state in textured}) == len(textured)
    used: set[tuple[int, str]] = set()
    drawn = {_fill(state, 0, colours.LIGHT, used) for state in (*State, look.WASTED)}
    assert len(drawn) == 7, "and in a saved picture each has a fill of its own"

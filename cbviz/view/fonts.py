"""Fonts for pictures made of pixels."""

from __future__ import annotations

from typing import Any

from cbviz.errors import CbvizError

CHINESE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "NotoSansSC-Regular.ttf",
    "SourceHanSansSC-Regular.otf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
    "msyh.ttc",
    "simhei.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
)
"""File names of fonts with Chinese characters on Linux, macOS and Windows; Pillow searches the system's folders."""


def chinese_font(fonts: Any, pixels: int) -> Any:
    """A font with Chinese characters.

    Parameters
    ----------
    fonts
        Pillow's `ImageFont`.
    pixels
        The height of its text.

    Returns
    -------
    FreeTypeFont
        The first of `CHINESE_FONTS` that is installed.

    Raises
    ------
    CbvizError
        None is installed.
    """
    for name in CHINESE_FONTS:
        try:
            return fonts.truetype(name, pixels)
        except OSError:
            continue
    raise CbvizError(
        "this picture contains Chinese text, and no font for it is installed (looked for Noto Sans CJK, Source Han "
        "Sans, PingFang, Microsoft YaHei, SimHei and WenQuanYi); install one (Debian: fonts-noto-cjk), or write SVG."
    )

from collections.abc import Callable
from pathlib import Path

import pytest

from cbviz.models.cache import MANIFEST, PART, cache_folder, install, is_whole, sha256, sweep, write_manifest


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"\x01" * 5000)
    (folder / "config").write_text("{}")
    write_manifest(folder, "source A")
    return folder


def edit_one_byte(folder: Path) -> None:
    data = bytearray((folder / "weights").read_bytes())
    data[2500] ^= 1
    (folder / "weights").write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one byte edited": edit_one_byte,
    "cut short": lambda folder: (folder / "weights").write_bytes(b"\x01" * 4999),
    "a file gone": lambda folder: (folder / "config").unlink(),
    "a file too many": lambda folder: (folder / "extra").write_text(""),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST).write_text('{"source": "source A", "fi'),
    "a strange manifest": lambda folder: (folder / MANIFEST).write_text("[]"),
    "strange files": lambda folder: (folder / MANIFEST).write_text('{"source": "source A", "files": 3}'),
}


def test_a_whole_folder(whole: Path) -> None:
    assert is_whole(whole, "source A")
    assert not is_whole(whole, "source B")
    assert not is_whole(whole / "nothing", "source A")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(whole: Path, damage: str) -> None:
    DAMAGE[damage](whole)
    assert not is_whole(whole, "source A")


@pytest.mark.parametrize("before", ["nothing", "damaged", "whole"])
def test_installing_replaces_what_is_not_whole(tmp_path: Path, before: str, whole: Path) -> None:
    place = whole if before != "nothing" else tmp_path / "elsewhere"
    if before == "damaged":
        edit_one_byte(whole)
    work = tmp_path / f"work{PART}"
    fresh = work / "model"
    fresh.mkdir(parents=True)
    (fresh / "weights").write_bytes(b"\x02" * 10)
    install(fresh, place, "source A")
    assert is_whole(place, "source A")
    # A complete folder that was there first stays.
    assert (place / "weights").stat().st_size == (5000 if before == "whole" else 10)


def test_old_unfinished_folders_are_swept_away(tmp_path: Path) -> None:
    import os
    import time

    for name, age in (("old" + PART, 100_000), ("new" + PART, 10), ("model", 100_000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new" + PART]


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CBVIZ_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CBVIZ_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/cbviz")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cbviz"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "cbviz"


def test_sha256_of_a_known_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

"""Cost models as files: small, readable JSON, checked when read. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cbviz.checks import as_int, finite, is_version, known_elsewhere, shown
from cbviz.errors import CalibrationError
from cbviz.paths import path_of, read_file, short, write_whole
from cbviz.simulator.cost import COEFFICIENTS, CostModel, Extent, HeldOut, Origin

FOLDER = Path(__file__).parent / "calibrations"
COST_FORMAT = "cbviz calibration"
COST_VERSION = 1
MOST_BYTES = 2**18
"""A calibration takes about 2 kB; whatever is larger than this is none."""
MOST_IN_A_LIST = 1_000
LONGEST_ENTRY = 2_000
COST_SUFFIX = ".json"

Kind = TypeVar("Kind")


def shipped() -> tuple[str, ...]:
    """Names of the calibrations that come with cbviz, for `load_cost`.

    Returns
    -------
    tuple of str
        Sorted.
    """
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{COST_SUFFIX}")))


FORMULA = (
    "iteration + decode*rows of one token + kv_token*positions they read + prefill_token*tokens of "
    "longer rows + attention*sum of chunk*(context + chunk/2) over these + prefill where there are any"
)
"""What the coefficients multiply. Files without it mean this one."""


def load_cost(given: str | os.PathLike[str] | CostModel) -> CostModel:
    """A cost model by name or from its file.

    Parameters
    ----------
    given
        One of `shipped()`, or the path of a file that `save_cost` or `cbviz calibrate` wrote. A `CostModel` is returned
        as it is.

    Returns
    -------
    CostModel
        What the file says.

    Raises
    ------
    CalibrationError
        No calibration has that name, or the file is damaged, foreign, or of another version.
    FileError
        The file cannot be read.

    Examples
    --------
    >>> from cbviz.simulator import load_cost
    >>> load_cost("h100-llama-3.1-8b").origin.device
    'NVIDIA H100 80GB HBM3'
    """
    if isinstance(given, CostModel):
        return given
    if isinstance(given, str) and given in shipped():
        path = FOLDER / f"{given}{COST_SUFFIX}"
    else:
        path = path_of(given, "cost")
        if not os.path.lexists(path):
            raise CalibrationError(
                f"there is no calibration {short(given)}; it must be the path of a file, or one of "
                f"{', '.join(shipped())}{known_elsewhere(given)}."
            )
    return from_text(read_file(path, "the calibration", most=MOST_BYTES), short(path))


def from_text(data: bytes, where: str) -> CostModel:
    """The cost model in a file's content; `where` names the file in messages. Raises CalibrationError."""

    def refuse(what: str) -> NoReturn:
        raise CalibrationError(f"{where} is no calibration that can be used: {what}.")

    if len(data) > MOST_BYTES:
        refuse(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        content = json.loads(data.decode("utf-8"), parse_constant=lambda word: refuse(f"it contains {word}"))
    except CalibrationError:
        raise
    except (ValueError, RecursionError):  # no JSON, no text, or a number of thousands of digits
        refuse("it is not JSON, or was cut short")
    if not isinstance(content, dict) or content.get("format") != COST_FORMAT:
        refuse(f'it lacks "format": "{COST_FORMAT}", so something else wrote it')
    version = content.get("version")
    if not is_version(version, COST_VERSION):
        refuse(
            f"it has version {shown(version)}, and this cbviz reads version {COST_VERSION}; run `cbviz calibrate` "
            "again on the traces that it names"
        )
    if content.get("formula", FORMULA) != FORMULA:
        refuse("its coefficients are those of another formula; run `cbviz calibrate` again on the traces that it names")
    given = content.get("seconds")
    if not isinstance(given, dict) or set(given) != set(COEFFICIENTS):
        refuse(f'"seconds" must name the coefficients {", ".join(COEFFICIENTS)}')
    name = content.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
        refuse('"name" must be a text of 1 to 100 printable characters')
    try:
        return CostModel(**{key: given[key] for key in COEFFICIENTS}, name=name, origin=_origin(content.get("origin")))
    except CalibrationError as error:
        refuse(str(error).rstrip("."))


def save_cost(cost: CostModel, path: str | os.PathLike[str]) -> Path:
    """Write a cost model to a file.

    Parameters
    ----------
    cost
        What to write.
    path
        The file; its name should end in .json.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileError
        It cannot be written.
    """
    return write_whole(path, to_text(cost), "the calibration")


def to_text(cost: CostModel) -> str:
    """The content of a cost model's file."""
    content = {
        "format": COST_FORMAT,
        "version": COST_VERSION,
        "name": cost.name,
        "formula": FORMULA,
        "seconds": {name: getattr(cost, name) for name in COEFFICIENTS},
        "origin": None if cost.origin is None else asdict(cost.origin),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# ---------------------------------------------------------------------------------------------- reading an origin


def _origin(given: Any) -> Origin | None:
    if given is None:
        return None
    content = _fields(given, Origin, "origin")
    if content["method"] not in ("fitted", "derived"):
        raise CalibrationError(f'"method" must be fitted or derived, not {shown(content["method"])}')
    for name in ("device", "model", "dtype"):
        _text(content[name], name)
    versions = content["versions"]
    if not isinstance(versions, dict) or len(versions) > MOST_IN_A_LIST:
        raise CalibrationError('"versions" must map names to versions')
    for key, value in versions.items():
        _text(key, "versions"), _text(value, "versions")
    for name in ("traces", "notes"):
        if not isinstance(content[name], list) or len(content[name]) > MOST_IN_A_LIST:
            raise CalibrationError(f'"{name}" must be a list of texts')
        content[name] = tuple(_text(entry, name) for entry in content[name])
    if content["extent"] is not None:
        extent = _fields(content["extent"], Extent, "extent")
        content["extent"] = Extent(**{name: _count(value, name) for name, value in extent.items()})
    if content["held_out"] is not None:
        held_out = _fields(content["held_out"], HeldOut, "held_out")
        requests = _count(held_out.pop("requests"), "requests")
        content["held_out"] = HeldOut(requests, **{name: _share(value, name) for name, value in held_out.items()})
    return Origin(**content)


def _fields(given: Any, kind: type[Any], what: str) -> dict[str, Any]:
    names = [f.name for f in fields(kind)]
    if not isinstance(given, dict) or set(given) != set(names):
        raise CalibrationError(f'"{what}" must have the entries {", ".join(names)}')
    return dict(given)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_ENTRY:
        raise CalibrationError(
            f'"{name}" has {shown(value)} where a text of at most {LONGEST_ENTRY:,} characters belongs'
        )
    return value


def _count(value: Any, name: str) -> int:
    count = as_int(value)
    if count is None or not 0 <= count < 2**53:
        raise CalibrationError(f'"{name}" must be a whole number of at least 0, not {shown(value)}')
    return count


def _share(value: Any, name: str) -> float | None:
    share = None if value is None else finite(value)
    if value is not None and (share is None or share < 0):
        raise CalibrationError(f'"{name}" must be a number of at least 0 or null, not {shown(value)}')
    return share

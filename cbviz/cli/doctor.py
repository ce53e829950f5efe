"""`cbviz doctor`: read results of load generators, and say what they show."""

from __future__ import annotations

import argparse
import sys

from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import BAD_INPUT, write_all
from cbviz.cli.words import print_json, refusal
from cbviz.errors import CbvizError, MeasureError
from cbviz.paths import new_file, printable, short, write_whole


def run_doctor(options: argparse.Namespace) -> int:
    """Run `cbviz doctor`; returns the exit code. Raises CbvizError for bad input."""
    if options.html is not None:
        options.html = new_file(options.html, "--html")
    with everything_to_stderr():
        from cbviz.measure.goodput import Targets
        from cbviz.run.diagnosis import page
        from cbviz.run.doctor import doctor, runs_in

        wanted = {"ttft": options.target_ttft, "tpot": options.target_tpot, "e2el": options.target_e2e}
        targets = Targets(**wanted) if any(value is not None for value in wanted.values()) else None
        tried = [_option(text) for text in options.what_if]
        ran = None if options.ran is None else _option(options.ran)
        if options.cost is None and (tried or ran is not None):
            given = "--what-if" if tried else "--ran"
            raise MeasureError(f"{given} is simulated, which needs --cost: a calibration by name, or a file of one.")
        settings = {
            "targets": targets,
            "cost": options.cost,
            "ran": ran,
            "options": tried,
            "language": options.language,
        }
        found = []
        refused: dict[str, CbvizError] = {}
        for path in options.files:
            try:
                runs = runs_in(path)
            except CbvizError as error:
                refused.setdefault(refusal(error), error)
                continue
            for run in range(1, runs + 1):
                try:
                    found.append(doctor(path, run=run, **settings))
                except CbvizError as error:
                    refused.setdefault(refusal(error), error)
    if not found and len(refused) == 1:
        raise next(iter(refused.values()))
    if refused:
        print(*refused, sep="\n", file=sys.stderr, flush=True)
    if not found:
        raise MeasureError("nothing could be examined.")
    code = BAD_INPUT if refused else 0
    if options.json:
        print_json({"command": options.command_line, "runs": [one.to_json() for one in found]})
    else:
        for number, one in enumerate(found):
            lead = "\n" if number else ""
            print(lead + "\n".join(map(printable, [*one.sentences(), ""])), one.text(), sep="\n", flush=True)
    if options.html is None:
        return code
    said = f"Open in a browser: {short(options.html)}"
    writing = (lambda: write_whole(options.html, page(found), "--html"), said)
    return max(code, write_all([writing], quiet=options.json))


def _option(text: str) -> dict[str, object]:
    """What differs in a setting, such as "policy=sarathi,slots=64,kv_blocks=2588". Raises MeasureError."""
    given: dict[str, object] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in ("policy", "slots", "kv_blocks", "block_size", "budget", "lag") or not value:
            raise MeasureError(
                "a setting is written policy=NAME,slots=N,kv_blocks=N,block_size=N,budget=N,lag=N, those that differ, "
                f"not {printable(text)!r:.80}."
            )
        if name in given:
            raise MeasureError(f"{name} is given twice in {printable(text)!r:.80}.")
        if name == "lag" and value == "0":
            given[name] = 0
            continue
        if name != "policy" and not (value.isascii() and value.isdigit() and 0 < int(value[:12]) < 10**9):
            raise MeasureError(f"{name} must be a whole number of at least 1, not {printable(value)!r:.80}.")
        given[name] = value if name == "policy" else int(value)
    return given

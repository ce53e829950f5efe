"""What is to be said about a run under other settings: sentences, and plain values."""

from __future__ import annotations

import math
from typing import Any

from cbviz.measure.rounding import percent
from cbviz.messages import Message
from cbviz.run.what_if import WhatIf, WhatIfRow


def what_if_sentences(options: WhatIf) -> list[str]:
    """How good the simulation is, each setting beside it, and what limits all of that."""
    error = {name: f"{value:+.1%}" if not math.isnan(value) else "–" for name, value in options.error.items()}
    said: list[str] = [options.note] if options.note else []
    said.append(Message("doctor.what_if.error", option=options.as_it_ran.option.label, **error))
    for row in (options.as_it_ran, *options.options):
        times = {name: f"{milliseconds(value)} ± {_share(row.uncertainty[name])}" for name, value in row.mean.items()}
        speed = f"{row.tokens_per_second:,.0f}"
        said.append(Message("doctor.what_if.row", option=row.option.label, speed=speed, **times))
        if row is not options.as_it_ran:
            changes = {name: _change(*bounds) for name, bounds in row.change.items()}
            said.append(Message("doctor.what_if.change", **changes))
    warnings = dict.fromkeys(warning for row in (options.as_it_ran, *options.options) for warning in row.warnings)
    return [*said, *warnings]


def what_if_json(options: WhatIf) -> dict[str, Any]:
    """The same as plain JSON values."""

    def row(found: WhatIfRow) -> dict[str, Any]:
        return {
            "option": found.option.label,
            "mean": {name: known(value) for name, value in found.mean.items()},
            "p99": {name: known(value) for name, value in found.p99.items()},
            "uncertainty": {name: known(value) for name, value in found.uncertainty.items()},
            "change": {name: [known(value) for value in bounds] for name, bounds in found.change.items()},
            "tokens_per_second": found.tokens_per_second,
            "warnings": list(found.warnings),
        }

    return {
        "error": {name: known(value) for name, value in options.error.items()},
        "clients": options.clients,
        "as_it_ran": row(options.as_it_ran),
        "options": [row(found) for found in options.options],
    }


def known(value: float) -> float | None:
    """The value as JSON holds it: None if it is not finite."""
    return value if math.isfinite(value) else None


def _share(value: float) -> str:
    return "?" if not math.isfinite(value) else percent(value, 0 if value >= 0.1 else 1)


def _change(least: float, expected: float, most: float) -> str:
    """A relative change and its bounds, such as "+12% (+9% … +30%)"."""
    if math.isnan(expected):
        return "–"
    return f"{expected:+.0%} ({least:+.0%} … {most:+.0%})"


def milliseconds(seconds: float) -> str:
    """Milliseconds in at most five digits; "–" where there are none."""
    if math.isnan(seconds):
        return "–"
    ms = seconds * 1e3
    return f"{ms:,.0f} ms" if ms >= 1000 else f"{ms:.1f} ms" if ms >= 10 else f"{ms:.2f} ms"

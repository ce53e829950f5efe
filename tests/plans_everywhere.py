"""What every built-in policy plans for some views, as JSON: run by CPython and by Pyodide, which must agree.

Needs `cbviz.policies` and nothing else, so neither numpy nor torch nor threads.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict

from cbviz.policies import POLICIES, RequestView, View


def views(seed: int) -> list[View]:
    """Views of one queue that shortens while slots fill, with enough blocks, and with too few."""
    draw = random.Random(seed)
    found = []
    for iteration in range(12):
        slots = draw.choice((2, 4, 8))
        running = [_request(draw, id, running=True) for id in range(draw.randrange(slots + 1))]
        waiting = [_request(draw, 100 + id) for id in range(draw.randrange(20))]
        found.append(
            View(
                iteration=iteration,
                now=iteration * 0.5,
                slots=slots,
                waiting=waiting,
                running=running,
                finished=[],
                free_slots=slots - len(running),
                free_blocks=draw.choice((0, 3, 40)),
                block_size=4,
                total_blocks=60,
                context_limit=240,
                clock=float(iteration),
            )
        )
    return found


def _request(draw: random.Random, id: int, running: bool = False) -> RequestView:
    prompt, most = draw.randrange(1, 30), draw.randrange(2, 30)
    generated = draw.randrange(1, most) if running else 0
    computed = prompt + generated - 1 if running else 0
    known = {"id": id, "arrival": 0.0, "prompt_tokens": prompt, "max_new_tokens": most, "generated": generated}
    known |= {"computed": computed, "blocks": -(-computed // 4)}
    return RequestView(**known)


def plans() -> str:
    """Every policy's plans for the same views."""
    lines = []
    for name, make in POLICIES.items():
        policy = make()
        lines += [f"{name}: {json.dumps(asdict(policy.plan(view)), default=str, sort_keys=True)}" for view in views(7)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(plans())

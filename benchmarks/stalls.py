"""What long prompts do to those who decode, under several schedulers: gaps between tokens, stalls, first tokens.

python benchmarks/stalls.py --json FILE
python benchmarks/stalls.py --model tiny --decoding 4 --output-tokens 60 --long 4 --long-prompt 100:200 --rate 20
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from result_file import write

from cbviz.experiments.stalls import POLICIES, stall_workload, stalls
from cbviz.models import load
from cbviz.policies import Policy, Sarathi, get


def lengths(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    if not low.isdecimal() or not high.isdecimal() or not 0 < int(low) <= int(high):
        raise argparse.ArgumentTypeError(f"must be LOW:HIGH, such as 2048:4096, not {text!r}")
    return int(low), int(high)


def policy(text: str) -> Policy:
    """A policy's name; sarathi:512 names the chunk, too."""
    name, _, chunk = text.partition(":")
    return Sarathi(chunk_size=int(chunk)) if name == "sarathi" and chunk.isdecimal() else get(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b")
    parser.add_argument("--policy", action="append", help=f"several times; sarathi:512 sets the chunk ({POLICIES})")
    parser.add_argument("--decoding", type=int, default=32, help="requests that decode all the time (32)")
    parser.add_argument("--output-tokens", type=int, default=1024, help="tokens that each of them gives (1024)")
    parser.add_argument("--long", type=int, default=24, help="long prompts that arrive (24)")
    parser.add_argument("--long-prompt", type=lengths, default=(2048, 4096), metavar="LOW:HIGH")
    parser.add_argument("--rate", type=float, default=3.0, help="of them a second (3)")
    parser.add_argument("--slots", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the gaps between tokens")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    work = stall_workload(
        vocabulary=loaded.vocabulary,
        decoding=options.decoding,
        output_tokens=options.output_tokens,
        long=options.long,
        long_prompt=options.long_prompt,
        rate=options.rate,
        seed=options.seed,
    )
    found = stalls(
        loaded,
        [policy(name) for name in options.policy or POLICIES],
        workload=work,
        decoding=options.decoding,
        slots=options.slots,
        compiled=not options.no_compile,
    )
    print(found, flush=True)
    if options.svg:
        found.chart().to_svg(options.svg)
    if options.json:
        policies = [one.to_json() for one in found.found]
        about = {"model": found.model, "device": found.device, "workload": found.workload}
        write(options.json, __file__, argv, **about, policies=policies)
    return 0


if __name__ == "__main__":
    sys.exit(main())

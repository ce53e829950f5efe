"""What int8 weights change: bytes, room for KV tokens, the time of a step, and the answers.

python benchmarks/int8.py --json FILE
python benchmarks/int8.py --model random:llama-3.1-8b --slots 1 --slots 32
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from result_file import write

from cbviz.experiments.int8 import int8

MODELS = ("tiny", "smollm2-135m")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"may be given several times ({', '.join(MODELS)})")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--slots", type=int, action="append", help="may be given several times")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-graphs", action="store_true", help="eager passes, no CUDA graphs")
    parser.add_argument("--no-compile", action="store_true", help="CUDA graphs without torch.compile")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    found = []
    for model in options.model or MODELS:
        for slots in options.slots or [None]:
            result = int8(
                model,
                requests=options.requests,
                slots=slots,
                repeats=options.repeats,
                device=options.device,
                dtype=options.dtype,
                graphs=False if options.no_graphs else None,
                compiled=not options.no_compile,
            )
            print(f"{result}\n", flush=True)
            found.append(result.to_json())
            if options.json:
                write(options.json, __file__, argv, models=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

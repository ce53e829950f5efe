"""How large a thing may be: every bound in one place, with its reason.

A bound is arithmetic on numbers that are known before any memory is asked for. Whatever exceeds one is refused by a
sentence; whatever keeps them all can be run, recorded, written, read and drawn.
"""

from __future__ import annotations

MOST_SLOTS = 4_096
"""Slots of an engine. Serving engines run some hundred to a thousand requests at once; every slot costs each iteration
host time and 21 bytes of the recording, used or not."""

MOST_REQUESTS = 100_000
"""Requests of one workload: all of them, with their prompts, are in memory before the first iteration."""

MOST_SIMULATED = 100_000_000
"""Requests of one simulation: about 100 bytes each."""

MOST_REPEATS = 1_000
"""Timed runs. Each keeps its recording, so that the median can be shown."""

MOST_TOKENS = 2**31 - 1
"""Token counts, positions and token ids: the engine and the board keep them as int32."""

MOST_BLOCK_SIZE = 2**20
"""Positions in a KV block: more than the context of any model."""

MOST_BLOCKS = 2**22
"""KV blocks of a pool: each costs the host about 150 bytes of bookkeeping, 600 MB for as many as this."""

MOST_SEED = 2**63 - 1
"""A seed: a file keeps it in 64 bits with a sign."""

LONGEST_SECONDS = 1e9
"""Times on a lane's clock: 31 years. In microseconds, which Perfetto wants, they are still exact."""

MOST_ID = 2**31 - 1
"""A request's id: the board keeps ids as int32."""

MOST_COUNT = 2**31 - 1
"""Whatever is counted once an iteration: the board keeps counts as int32."""

MOST_EXACT = 2**53
"""Whole numbers that JavaScript reads exactly; bytes and positions of a whole pool."""

MOST_CELLS = 2**24
"""Slots × iterations of a trace that is written, read or drawn. A picture needs about 20 bytes for each, 320 MB; a file
holds at most about 2 million output tokens, which fill so many at an occupancy of an eighth."""

RECORDED_SLOTS = 65_536
"""Slots of a recorded run: more than an engine has here, so that runs of other engines can be shown."""

MOST_PIXELS = 2**27
"""Pixels of a picture: 400 MB while it is drawn, and 16,000 × 8,000 is more than any slide shows."""

MOST_FRAME_PIXELS = 2**29
"""Pixels of all pictures of a GIF together: some ten seconds of work."""

MOST_PICTURE_ROWS = 16_384
"""Rows of slots in a picture: at the least height of 2 px, 32,768 px, the most that browsers draw in one image."""

LARGEST_TEXT = 128 * 2**20
"""Bytes of JSON that a trace file unpacks to: about 2 million output tokens with their text."""

MOST_BRACKETS = 4_000_000
"""Lists and tables in a trace file (three a request), so that a hostile file cannot fill the memory with empty ones."""

MOST_COMMAS = 24_000_000
"""Numbers and texts in a trace file. A sound file of the largest size holds fewer than this: three for a token."""

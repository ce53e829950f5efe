"""The model, run eagerly on any device: KV cache, attention, sampling.

Read in this order: `forward` (a step, from its rows to their tokens), `attention_hook` (how our attention gets into the
model), `attention` (what a backend gets), `sdpa` (the backend), `sampling`; then what is not part of every iteration:
`eager_executor` (chooses what a `forward` runs with), `kv_cache`, `host_blocks`, `drawing`, `logit_rules`,
`generation_config`, `packed_linear` (products of few rows on a CPU), `short_layer` (what is around them), `serving`,
`out_of_memory`.
"""

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers

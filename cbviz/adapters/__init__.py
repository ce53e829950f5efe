"""Other people's engines on our board, and our policies in theirs.

- `cbviz.adapters.transformers_cb` runs transformers' own continuous batching and records it as a `Trace`.
- `cbviz.adapters.vllm` is a plugin that makes vLLM write one line an iteration, and the reader of those lines.
- `cbviz.adapters.openai` loads any OpenAI-compatible endpoint and draws its requests.

An adapter records what its engine shows and leaves out the rest: the trace's `extra` names what is missing. Nothing
here is imported by the rooms above, and no engine but transformers has to be installed.
"""

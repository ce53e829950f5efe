"""A load generator for any OpenAI-compatible endpoint, and a picture of its requests.

An endpoint shows nothing of its batch: not its slots, its iterations or its queue. So the picture has one row a request
and says so, and the numbers are those of `vllm bench serve`, in its file format.
"""

from cbviz.adapters.openai.generator import load
from cbviz.adapters.openai.result import Call, LoadResult

__all__ = ["Call", "LoadResult", "load"]

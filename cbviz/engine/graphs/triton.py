"""Static attention on a GPU: our Triton kernels for the cache and for decoding rows, FlashAttention for prompts."""

from __future__ import annotations

from torch import Tensor

from cbviz.engine.attention import ragged, triton_decode
from cbviz.engine.graphs.attend import StaticPass
from cbviz.errors import EngineError


class TritonStaticAttention:
    """Reads every length on the device, so a captured graph serves any iteration of its shape.

    Raises
    ------
    EngineError
        There is no Triton here, or no device that it could run on.
    """

    def __init__(self) -> None:
        if not triton_decode.available():
            raise EngineError("CUDA graphs need Triton and a CUDA GPU; the eager executor runs everywhere.")

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layer: int,
        scale: float,
        window: int | None,
        static: StaticPass,
    ) -> Tensor:
        """See `StaticAttention`."""
        fields, rows, tokens = static.fields, static.shape.rows, static.shape.tokens
        keys, values = static.cache.keys[layer], static.cache.values[layer]
        triton_decode.store(key, value, keys, values, fields["where"])
        output = query.new_empty(query.shape)
        triton_decode.decode(
            query[:rows],
            keys,
            values,
            static.tables,
            fields["slot"][:rows],
            fields["context"],
            block_size=static.cache.block_size,
            scale=scale,
            window=window,
            out=output[:rows],
        )
        if tokens:
            # These prompts begin at position 0, so their own keys are all that they can see.
            packed = ragged.PackedPrompts(
                query_bounds=fields["bounds"],
                key_bounds=fields["bounds"],
                longest_queries=static.shape.longest,
                longest_context=static.shape.longest,
                fresh=True,
                gather=fields["where"],
            )
            output[rows:] = ragged.prefill(
                query[rows:], key[rows:], value[rows:], keys, values, packed, scale=scale, window=window
            )
        return output

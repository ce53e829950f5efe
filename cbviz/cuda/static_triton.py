"""Static attention on a GPU: our Triton kernels for the cache and for decoding rows, FlashAttention for prompts."""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda import kernels, varlen
from cbviz.cuda.attend import LayerCall, StaticPass
from cbviz.cuda.triton_decode import decode
from cbviz.cuda.triton_prompt import rotate, store
from cbviz.errors import EngineError


class TritonStaticAttention:
    """Reads every length on the device, so a captured graph serves any iteration of its shape.

    Raises
    ------
    EngineError
        There is no Triton here, or no device that it could run on.
    """

    def __init__(self, device: torch.device) -> None:
        if not kernels.available():
            raise EngineError("CUDA graphs need Triton and a CUDA GPU; the eager executor runs everywhere.")
        self._overlap = torch.cuda.get_device_capability(device) >= (9, 0)

    def attend(self, call: LayerCall, static: StaticPass) -> Tensor:
        """See `StaticAttention`. Capped scores and sinks are not served: such models run without graphs."""
        if call.softcap is not None or call.sinks is not None:
            raise EngineError("the kernels of CUDA graphs know neither capped scores nor attention sinks.")
        fields, rows, shape = static.fields, static.shape.rows, static.shape
        query, key, value, rotary = call.query, call.key, call.value, call.rotary
        keys, values = static.cache.keys[call.layer], static.cache.values[call.layer]
        output = query.new_empty(query.shape)
        decode(
            query[:rows],
            keys,
            values,
            static.tables,
            fields["slot"][:rows],
            fields["context"],
            block_size=static.cache.block_size,
            scale=call.scale,
            newest=(key[:rows], value[:rows]),
            rotary=None if rotary is None else (rotary[0][:rows], rotary[1][:rows]),
            window=call.window,
            arrivals=static.arrivals,
            overlap=self._overlap and shape.width == 1,
            out=output[:rows],
        )
        if shape.tokens:
            prompts, key, value = query[rows:], key[rows:], value[rows:]
            if rotary is not None:
                cos, sin = rotary[0][rows:], rotary[1][rows:]
                prompts, key = rotate(prompts, cos, sin), rotate(key, cos, sin)
            store(key, value, keys, values, fields["slot_mapping"][rows:])
            # Prompts that all begin here see nothing but their own keys; others find theirs in the cache.
            packed = varlen.PackedPrompts(
                cu_seqlens_q=fields["cu_seqlens_q"],
                cu_seqlens_k=fields["cu_seqlens_k"] if shape.keys else fields["cu_seqlens_q"],
                longest_queries=shape.longest,
                longest_context=shape.keys or shape.longest,
                fresh=not shape.keys,
                gather=fields["gather"],
            )
            output[rows:] = varlen.prefill(
                prompts, key, value, keys, values, packed, scale=call.scale, window=call.window
            )
        return output

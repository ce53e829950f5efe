"""Static attention on a GPU: our Triton kernels for the cache and for decoding rows, FlashAttention for prompts.

Decoding waits for memory and prompts for arithmetic, and neither reads what the other writes: in a pass that has both,
they run side by side, as two branches of its graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cbviz.cuda import kernels, varlen
from cbviz.cuda.attend import LayerCall, StaticPass
from cbviz.cuda.triton_decode import decode
from cbviz.cuda.triton_prompt import place
from cbviz.errors import EngineError
from cbviz.models.capability import HOPPER


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
        self._overlap = torch.cuda.get_device_capability(device) >= HOPPER
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def attend(self, call: LayerCall, static: StaticPass) -> Tensor:
        """See `StaticAttention`. Capped scores and sinks are not served: such models run without graphs."""
        if call.softcap is not None or call.sinks is not None:
            raise EngineError("the kernels of CUDA graphs know neither capped scores nor attention sinks.")
        if not static.shape.tokens:
            return self._decode(call, static, call.query.new_empty(call.query.shape))
        beside = self._beside
        if beside is None:
            return self._decode(call, static, _prompts(call, static))
        now = torch.cuda.current_stream(beside.device)
        beside.wait_stream(now)
        with torch.cuda.stream(beside):
            output = _prompts(call, static)
        self._decode(call, static, output)
        now.wait_stream(beside)
        return output

    def _decode(self, call: LayerCall, static: StaticPass, output: Tensor) -> Tensor:
        """Fill in the rows that decode: the first ones of the output, which it returns."""
        fields, rows, rotary = static.fields, static.shape.rows, call.rotary
        decode(
            call.query[:rows],
            static.cache.keys[call.layer],
            static.cache.values[call.layer],
            static.tables,
            fields["slot"][:rows],
            fields["context"],
            block_size=static.cache.block_size,
            scale=call.scale,
            newest=(call.key[:rows], call.value[:rows]),
            rotary=None if rotary is None else (rotary[0][:rows], rotary[1][:rows]),
            window=call.window,
            arrivals=static.arrivals,
            overlap=self._overlap and static.shape.width == 1,
            out=output[:rows],
        )
        return output


def _prompts(call: LayerCall, static: StaticPass) -> Tensor:
    """The pass's output with the prompts' tokens filled in; those of rows that decode are left to them."""
    fields, shape = static.fields, static.shape
    keys, values = static.cache.keys[call.layer], static.cache.values[call.layer]
    query, key = place(
        call.query, call.key, call.value, keys, values, fields["slot_mapping"], call.rotary, first=shape.rows
    )
    # Prompts that all begin here see nothing but their own keys; others find theirs in the cache.
    packed = varlen.PackedPrompts(
        cu_seqlens_q=fields["cu_seqlens_q"],
        cu_seqlens_k=fields["cu_seqlens_k"] if shape.keys else fields["cu_seqlens_q"],
        longest_queries=shape.longest,
        longest_context=shape.keys or shape.longest,
        fresh=not shape.keys,
        gather=fields["gather"],
    )
    return varlen.prefill(query, key, call.value, keys, values, packed, scale=call.scale, window=call.window)

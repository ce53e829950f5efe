"""Static attention by PyTorch alone: the reference for the kernels, and what runs where there is no CUDA."""

from __future__ import annotations

import itertools

from torch import Tensor

from cbviz.cuda.attend import StaticPass
from cbviz.cuda.fused_rotary import rotate
from cbviz.cuda.layout import NOWHERE
from cbviz.eager.attention import VarlenBatch
from cbviz.eager.sdpa import SdpaAttention


class SdpaStaticAttention:
    """Reads the lengths on the host, so it can be run and compiled but not captured."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layer: int,
        scale: float,
        window: int | None,
        softcap: float | None,
        sinks: Tensor | None,
        rotary: tuple[Tensor, Tensor] | None,
        static: StaticPass,
    ) -> Tensor:
        """See `StaticAttention`."""
        fields, rows = static.fields, static.shape.rows
        if rotary is not None:
            cos, sin = (x.unsqueeze(1) for x in rotary)
            query, key = (rotate(x, cos, sin, x.shape[-1] // 2) for x in (query, key))
        written = (fields["slot_mapping"] != NOWHERE).nonzero()[:, 0]
        keys, values = static.cache.write(layer, fields["slot_mapping"][written].long(), key[written], value[written])
        output = query.new_zeros((*query.shape[:2], value.shape[-1]))
        if not len(written):
            return output
        decoding = (fields["context"] > 0).nonzero()[:, 0].tolist()
        starts = fields["cu_seqlens_q"].tolist()
        sees = fields["cu_seqlens_k"].tolist() if static.shape.keys else starts
        lengths = [b - a for a, b in itertools.pairwise(starts) if b > a]
        contexts = [b - a for a, b in itertools.pairwise(sees) if b > a]
        prompts = [rows + a for a, b in itertools.pairwise(starts) if b > a]
        ends = [*range(len(decoding) + 1)]
        for length in lengths:
            ends.append(ends[-1] + length)
        batch = VarlenBatch(
            cu_seqlens=tuple(ends),
            context=(*fields["context"][decoding].tolist(), *contexts),
            tables=static.tables[fields["slot"][[*decoding, *prompts]].long()].long(),
            slot_mapping=fields["slot_mapping"][written].long(),
            block_size=static.cache.block_size,
        )
        backend = SdpaAttention()
        backend.prepare(batch, query.device)
        output[written] = backend.attend(
            query[written], keys, values, scale=scale, window=window, batch=batch, softcap=softcap, sinks=sinks
        )
        return output

"""Static attention by PyTorch alone: the reference for the kernels, and what runs where there is no CUDA."""

from __future__ import annotations

import itertools

from torch import Tensor

from cbviz.cuda.attend import LayerCall, StaticPass
from cbviz.cuda.fused_rotary import rotate
from cbviz.cuda.layout import NOWHERE
from cbviz.eager.attention import VarlenBatch
from cbviz.eager.sdpa import SdpaAttention


class SdpaStaticAttention:
    """Reads the lengths on the host, so it can be run and compiled but not captured."""

    def attend(self, call: LayerCall, static: StaticPass) -> Tensor:
        """See `StaticAttention`."""
        fields = static.fields
        query, key, value = call.query, call.key, call.value
        if call.rotary is not None:
            cos, sin = (x.unsqueeze(1) for x in call.rotary)
            query, key = (rotate(x, cos, sin, x.shape[-1] // 2) for x in (query, key))
        written = (fields["slot_mapping"] != NOWHERE).nonzero()[:, 0]
        slot_mapping = fields["slot_mapping"][written].long()
        keys = static.cache.keys[call.layer].index_copy_(0, slot_mapping, key[written])
        values = static.cache.values[call.layer].index_copy_(0, slot_mapping, value[written])
        output = query.new_zeros((*query.shape[:2], value.shape[-1]))
        if not len(written):
            return output
        decoding = (fields["context"] > 0).nonzero()[:, 0].tolist()
        starts = fields["cu_seqlens_q"].tolist()
        sees = fields["cu_seqlens_k"].tolist() if static.shape.keys else starts
        lengths = [b - a for a, b in itertools.pairwise(starts) if b > a]
        contexts = [b - a for a, b in itertools.pairwise(sees) if b > a]
        prompts = [a for a, b in itertools.pairwise(starts) if b > a]
        ends = [*range(len(decoding) + 1)]
        for length in lengths:
            ends.append(ends[-1] + length)
        batch = VarlenBatch(
            cu_seqlens=tuple(ends),
            context=(*fields["context"][decoding].tolist(), *contexts),
            tables=static.tables[fields["slot"][[*decoding, *prompts]].long()].long(),
            slot_mapping=slot_mapping,
            block_size=static.cache.block_size,
        )
        backend = SdpaAttention()
        backend.prepare(batch, query.device)
        output[written] = backend.attend(
            query[written],
            keys,
            values,
            scale=call.scale,
            window=call.window,
            batch=batch,
            softcap=call.softcap,
            sinks=call.sinks,
        )
        return output

"""An eager executor that checks drafts: the rows of a slot's drafts go through the model beside all others.

Each draft is a row of its own with one query token, so what is computed for it, to the last bit of its attention, is
what a pass of its own would compute. All rows of a pass write their keys and values before any reads them, so a draft
sees those before it. Rejected ones leave keys and values behind the output's end; the next pass overwrites them.

Sampling and logit rules need nothing new: a row draws with the noise of its own output position, from the tokens before
it, and a draft is right if it is what is drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cbviz.core.executor import Step
from cbviz.eager.eager_executor import ModelExecutor


class SpeculativeExecutor(ModelExecutor):
    """A `ModelExecutor` whose steps may have drafts (see `cbviz.core.speculation`)."""

    takes_drafts = True

    def launch(self, step: Step) -> Tensor:
        """int64 [R] on the device: the tokens that rows draw, those after drafts among them. See `Executor`."""
        if step.drafts:
            slot = np.concatenate([np.full(len(draft.tokens), draft.slot) for draft in step.drafts])
            place = np.concatenate([draft.start + np.arange(len(draft.tokens)) for draft in step.drafts])
            token = np.concatenate([draft.tokens for draft in step.drafts])
            at = (torch.from_numpy(where.astype(np.int64)).to(self.device) for where in (slot, place))
            self._tokens[tuple(at)] = torch.from_numpy(token.astype(np.int64)).to(self.device)
        return super().launch(step)

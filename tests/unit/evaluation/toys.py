"""Models whose behaviour is known without running them."""

import torch

from pipeline.models.base import Model


class Toy(Model):
    """Needs no weights and keeps as its state all tokens that it has seen."""

    device = torch.device("cpu")

    def __init__(self, context):
        super().__init__()
        self.context = context

    def initial_state(self, batch_size, length=None):
        return torch.zeros(batch_size, 0, dtype=torch.int64)

    def forward(self, tokens_BT, state=None):
        seen = tokens_BT if state is None else torch.cat((state, tokens_BT), 1)
        return self.logits(seen)[:, -tokens_BT.shape[1] :], seen


class Table(Toy):
    """Predicts by the last token alone: logits [V, V]."""

    def __init__(self, logits_VV, context):
        super().__init__(context)
        self.table = logits_VV

    def logits(self, seen_BT):
        return self.table[seen_BT]


class Calculator(Toy):
    """Goes on with a row as `complete` says: beginning of a row as text -> whole equation."""

    def __init__(self, codec, complete, sharpness=10.0):
        super().__init__(codec.row_length)
        self.codec, self.complete, self.sharpness = codec, complete, sharpness

    def logits(self, seen_BT):
        width = self.codec.operand_width
        whole = max(n for n in (width, width + 1, 2 * width + 1, 2 * width + 2) if n <= seen_BT.shape[1])
        rows = torch.zeros(*seen_BT.shape, self.codec.vocab_size)
        for i, seen in enumerate(seen_BT.tolist()):
            row = [*self.codec.encode_equation(self.complete(self.codec.decode(seen[:whole]))), self.codec.eos]
            rows[i, range(len(seen)), row[1 : len(seen) + 1]] = self.sharpness
        return rows

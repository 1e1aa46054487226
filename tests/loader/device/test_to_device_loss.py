"""The head at predicted positions alone: the same loss as over all positions, in shapes that never change."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from maskmill.pipeline.loader import Masking
from tests.loader.datasets import SEQ_LEN, VOCAB_SIZE
from tests.loader.streams import open_loader


class SmallModel(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCAB_SIZE, 16)
        self.head = nn.Linear(16, VOCAB_SIZE)

    def full_loss(self, input_ids, labels):
        logits = self.head(torch.tanh(self.embed(input_ids)))
        return nn.functional.cross_entropy(logits.view(-1, VOCAB_SIZE), labels.view(-1), reduction="sum")

    def gathered_loss(self, input_ids, masked_positions, masked_labels):
        hidden = torch.tanh(self.embed(input_ids))
        logits = self.head(hidden.view(-1, hidden.shape[-1])[masked_positions])
        return nn.functional.cross_entropy(logits, masked_labels, reduction="sum")


@pytest.mark.parametrize("masking", [Masking(rate=0.15), Masking(rate=1.0), "static"])
def test_the_gathered_loss_is_the_full_loss(dataset, masking):
    model = SmallModel().double()
    for batch in open_loader(dataset, masking=masking).epochs(1).to_device("cpu"):
        full = model.full_loss(batch.input_ids, batch.labels)
        gathered = model.gathered_loss(batch.input_ids, batch.masked_positions, batch.masked_labels)
        torch.testing.assert_close(gathered, full, rtol=1e-6, atol=0)
        ours = torch.autograd.grad(gathered, model.head.weight)
        torch.testing.assert_close(ours, torch.autograd.grad(full, model.head.weight), rtol=1e-6, atol=1e-9)


def test_a_compiled_model_is_compiled_once(dataset):
    counter = CompileCounter()
    model = SmallModel()
    compiled = torch.compile(model.gathered_loss, backend=counter, fullgraph=True, dynamic=False)
    shapes, predicted = set(), set()
    for batch in open_loader(dataset).epochs(2).to_device("cpu"):
        compiled(batch.input_ids, batch.masked_positions, batch.masked_labels)
        shapes.add((batch.masked_positions.shape, batch.masked_labels.shape))
        predicted.add(int((batch.labels != -100).sum()))
    assert shapes == {((8 * 5,), (8 * 5,))}  # 15 % of rows of 32 are 4.8, rounded up
    assert len(predicted) > 1, "batches with one number of predicted positions would show nothing"
    assert SEQ_LEN == 32
    assert counter.frame_count == 1

"""Further masks of rows that are masked already, as an encoder and a decoder that hide different tokens need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_weights import weigh_labels
from maskmill.pipeline.loader.batches.objectives import find_original_ids
from maskmill.pipeline.loader.plan.choose_masks import open_step_masks
from maskmill.pipeline.loader.plan.open_sources import RunPlan
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.strategies.table import is_drawn_on_device
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.masking.torch_masks import mask_rows_torch
from maskmill.pipeline.settings import refuse_argument
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking


class AnotherMask:
    """Masks the rows of batches once more, from their true ids: RetroMAE's decoder (arXiv 2205.12035, section 3.2).

    Row by row, the masks are those that a loader with these settings would draw. With another seed than the loader's
    the two masks are independent.

    Args:
        masking: Settings without a schedule.
        tables: Built from the dataset's vocabulary.
    """

    def __init__(self, masking: Masking, tables: MaskTables) -> None:
        self._masking = masking
        self._tables = tables

    def __call__(self, batch: Batch) -> Batch:
        """The same rows with these masks, on the same device, and the `loss_weights` of these.

        They have no `masked_positions`.

        Raises:
            ConfigError: The batch is on a GPU, and the strategy is one whose masks are drawn on the host.
        """
        rows = find_original_ids(batch)
        if rows.device.type != "cpu":
            if not is_drawn_on_device(self._masking):
                raise ConfigError(
                    "masks of this strategy are drawn on the host, and the batch is on a device",
                    path="another_mask",
                    expected="a batch in host memory",
                    found=f"one on {rows.device}",
                    action='call it on batches of the loader itself and move both with .to(device), or use "token"',
                )
            shown, labels = mask_rows_torch(rows, batch.row_ids, batch.row_epochs, self._masking, self._tables)
        else:
            shown, labels = torch.empty_like(rows), torch.empty_like(rows)
            for epoch in np.unique(batch.row_epochs.numpy()).tolist():
                here = batch.row_epochs == epoch
                starts = None if batch.word_starts is None else batch.word_starts[here].numpy()
                row_ids = batch.row_ids[here].numpy()
                drawn = mask_rows(rows[here].numpy(), row_ids, epoch, self._masking, self._tables, starts)
                shown[here], labels[here] = map(torch.from_numpy, drawn)
        masked = replace(
            batch, input_ids=shown, labels=labels, masked_positions=None, masked_labels=None, loss_weights=None
        )
        return weigh_labels(masked, self._masking, self._tables.vocabulary.cls_id)


def open_another_mask(
    plan: RunPlan, masking: Masking, used: Sequence[Masking], storage_options: dict[str, Any] | None
) -> AnotherMask:
    """Fit further masks to the datasets of a run.

    Args:
        plan: Of the run.
        masking: Settings of the further masks.
        used: Those of the run's own masks, drawn or stored.
        storage_options: Of the fsspec file systems.

    Raises:
        ConfigError: The seed is that of a mask of the run, the rate has a schedule, or a dataset lacks words or tokens
            that the settings name.
    """
    if masking.seed in [one.seed for one in used]:
        raise refuse_argument(
            "masking.seed",
            masking.seed,
            "another seed than that of the loader's masks",
            "give the second mask a seed of its own, for example Masking(rate=0.5, seed=1)",
            "two masks of one seed would hide the same tokens",
        )
    if masking.schedule is not None:
        raise refuse_argument(
            "masking.rate",
            masking.model_dump(mode="json")["rate"],
            "a number",
            "give a rate such as 0.5, or per_sequence_rate",
            "another mask has no steps, so its rate cannot change over them",
        )
    masks = open_step_masks(plan, masking, storage_options, own=False)
    return AnotherMask(masking, masks.find(0).tables)

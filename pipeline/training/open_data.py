"""Open what a train file names: a packed dataset's rows in batches, its held-out rows, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from maskmill.pipeline.loader import MaskedBatches, Mixture, Source
from maskmill.pipeline.loader.blocks.packed_dataset import read_packed_manifest
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.loader.plan.check_fit import (
    check_one_length,
    check_one_tokenizer,
    check_stored_masks,
    require_pairs,
)
from maskmill.pipeline.run.rare_weights import weigh_by_dataset
from maskmill.pipeline.storage.datasets import fingerprint_blocks, fingerprint_rows, read_tokenizer
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.check_rate import check_rate
from maskmill.pipeline.training.masked_loss import TrainingBatch
from maskmill.pipeline.training.score_held_out import HELD_OUT_MASKING
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.pack_section import Pairs
from maskmill.schemas.token_weights import RARE
from maskmill.schemas.train_file import DataSection, TrainFile
from maskmill.schemas.wording import setting_of


def open_train_data(config: TrainFile, origins: Mapping[str, str] = MappingProxyType({})) -> TrainData:
    """Open the datasets that a train file names.

    Args:
        config: The train file.
        origins: For messages, what has set a key, such as `mask.rate`, if it was not the train file.

    Raises:
        ConfigError: There is no packed dataset at a URL, the two do not fit together, or a step would have no label.
        ShardCorruptError: A manifest or the tokenizer is not what was written.
    """
    data = config.data
    dataset = open_store(data.dataset)
    manifest = read_packed_manifest(dataset)
    more = {url: read_packed_manifest(open_store(url)) for url in data.more_datasets}
    masking = config.mask or manifest.masking
    check_rate(
        masking,
        dataset.display_url if config.mask is None else None,
        steps=config.run.steps,
        batch_tokens=data.global_batch_rows * manifest.seq_len,
    )
    if data.stored_masks:
        for url, one in {data.dataset: manifest, **more}.items():
            check_stored_masks(one, config.mask, open_store(url).display_url, origins)
    if task := config.model.sentence_task:
        wanted = task if isinstance(task, Pairs) else None
        asked_by = f"model.sentence_task = {setting_of(task)}" + _say_origin(origins.get("model.sentence_task"))
        for url, one in {data.dataset: manifest, **more}.items():
            require_pairs(one, wanted, open_store(url).display_url, asked_by)
    open_held_out: Callable[[], Iterable[TrainingBatch]] | None = None
    if data.held_out is not None:
        held_out_url = data.held_out
        _check_fits(manifest, read_packed_manifest(open_store(held_out_url)), held_out_url)
        batch_rows = data.micro_batch_rows or data.global_batch_rows

        def open_held_out() -> Iterable[TrainingBatch]:
            return iter_fixed_batches(held_out_url, HELD_OUT_MASKING, batch_rows)

    batches = MaskedBatches(
        _mix(data),
        global_batch_rows=data.global_batch_rows,
        micro_batch_rows=data.micro_batch_rows,
        seed=data.seed,
        masking="static" if data.stored_masks else config.mask,
    )

    def state_after(steps: int) -> dict[str, Any]:
        if more:
            return batches.at(steps).state_dict()
        epoch, step = divmod(steps, batches.steps_per_epoch)
        return batches.at(step, epoch).state_dict()

    identify = fingerprint_blocks if data.stored_masks else fingerprint_rows
    return TrainData(
        fingerprint=" ".join(map(identify, (manifest, *more.values()))),
        seq_len=manifest.seq_len,
        vocab_size=manifest.vocabulary.vocab_size,
        pad_id=manifest.vocabulary.pad_id,
        mask_id=manifest.vocabulary.mask_id,
        vocabulary=manifest.vocabulary,
        tokenizer_json=read_tokenizer(dataset, manifest),
        batches=batches,
        state_after=state_after,
        masking=masking,
        open_held_out=open_held_out,
    )


def _mix(data: DataSection) -> str | Mixture:
    """The one dataset, or all of them with the weights that `data.alpha` gives them."""
    if not data.more_datasets:
        return data.dataset
    sources = tuple(map(Source, (data.dataset, *data.more_datasets)))
    return Mixture(sources, temperature=1 / data.alpha if data.alpha else None)


def weigh_tokens(config: TrainFile) -> TrainFile:
    """Replace token weights "rare" by the weights that the words of the dataset's tokenizer give.

    Raises:
        ConfigError: It is not known which words its vocabulary was trained on.
    """
    if config.mask is None or config.mask.token_weights != RARE:
        return config
    dataset = open_store(config.data.dataset)
    masking = weigh_by_dataset(config.mask, dataset, read_packed_manifest(dataset))
    return config.model_copy(update={"mask": masking})


def _say_origin(origin: str | None) -> str:
    return "" if origin is None else f" of {origin}"


def _check_fits(trained: PackedManifest, held_out: PackedManifest, url: str) -> None:
    if held_out.counts.rows == 0:
        raise ConfigError(
            "data.held_out has no rows to score the model on",
            path=open_store(url).display_url,
            expected="at least one row",
            found="an empty dataset",
            action="prepare with a higher documents.held_out, or remove data.held_out from the train file",
        )
    shown_urls = "data.dataset", open_store(url).display_url
    check_one_length(trained, held_out, shown_urls)
    check_one_tokenizer(trained, held_out, shown_urls)

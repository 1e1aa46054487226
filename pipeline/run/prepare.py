"""Make all parts of a run, one after the other, for `maskmill prepare`, its part commands and programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.run.make_documents import make_documents
from maskmill.pipeline.run.make_rows import make_rows
from maskmill.pipeline.run.make_tokenizer import make_tokenizer
from maskmill.pipeline.run.open_run import open_run
from maskmill.pipeline.run.parts import Part, parse_part
from maskmill.pipeline.settings import check_callback, check_flag, load_settings
from maskmill.pipeline.storage.paths import join_path
from maskmill.schemas.events import RunEvent, RunListener
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.run_file import RunFile


@dataclass(frozen=True)
class Prepared:
    """What a run has written so far; parts that were not asked for are empty.

    Attributes:
        settings: The run file.
        documents: The documents to train on, then the held-out ones.
        tokenizer: The tokenizer.
        packed: The rows to train on as the run file lists them, then the held-out ones.
        timings: The content of `timings.json`: stages that ran now, and earlier.
        ran: The stages of which units ran now.
        is_unchanged: Whether there was nothing to do.
    """

    settings: RunFile
    documents: list[DocumentsManifest]
    tokenizer: TokenizerManifest | None
    packed: list[PackedManifest]
    timings: dict[str, dict[str, Any]]
    ran: frozenset[str]
    is_unchanged: bool

    def packed_urls(self, *, held_out: bool = False) -> list[str]:
        """The URLs of the packed datasets, for `MaskedBatches` and `open_dataset`, in the order of the run file.

        Datasets that were not made are left out.

        Args:
            held_out: Return those of the held-out documents, not those to train on.
        """
        if not any(manifest.held_out is held_out for manifest in self.packed):
            return []
        folders = packed_folders(self.settings.pack, DataSplit.of(held_out)).values()
        return [join_path(self.settings.output.url, folder) for folder in folders]


def prepare(
    run: RunFile | Mapping[str, Any] | str | os.PathLike[str],
    on_event: RunListener | None = None,
    up_to: Part | str = Part.PACK,
    *,
    replace: bool = False,
    recipe: str | None = None,
) -> Prepared:
    """Prepare what a run file asks for: shuffled documents, a tokenizer, packed rows.

    Finished parts are not made again, and an interrupted run continues. A tokenizer or a packing with a new name is
    added to the output. It needs no `if __name__ == "__main__"`, and works in a notebook.

    For example::

        prepared = prepare({"input": {"paths": ["corpus/*.jsonl"]}, "output": {"url": "out"}})
        batches = MaskedBatches(prepared.packed_urls()[0], global_batch_rows=256)

    Args:
        run: The path or URL of a run file, a dictionary of its sections, or a `RunFile`.
        on_event: Callback that receives every event (`maskmill.schemas.events`), in this process.
        up_to: The last part to make: `shard`, `tokenizer` or `pack`.
        replace: Make the tokenizer or the rows again where they were made with other settings. Without it a change of
            settings is refused.
        recipe: The name of a recipe, or the path of one: its keys go under those of the run file.

    Returns:
        What the run has written.

    Raises:
        ConfigError: An argument or a key of the run file is wrong, or the output is that of another run.
        InputDataError: The text cannot be used: too much of it is bad, or nothing is left.
        StaleArtifactError: The inputs, or something in the output, have changed since the run began.
        ShardCorruptError: Something in the output is not what was written.
        TransientStorageError: The store failed every attempt.
    """
    settings = load_settings(RunFile, run, "run", recipe)
    check_callback(on_event, "on_event")
    last_part = parse_part(up_to, "up_to")
    with open_run(settings, on_event or _ignore, last_part, replace=check_flag(replace, "replace")) as opened:
        documents = make_documents(opened)
        trained = make_tokenizer(opened, documents[0]) if last_part >= Part.TOKENIZER else None
        packed = make_rows(opened, documents, trained) if trained and last_part >= Part.PACK else []
        is_unchanged = not (opened.ran or opened.has_changed_masking)
        return Prepared(settings, documents, trained, packed, opened.finish(), opened.ran, is_unchanged)


def _ignore(_: RunEvent) -> None:
    """Do nothing: events are not wanted."""

"""`maskmill mask`: give finished rows other static copies, and say what they have now."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines, LiveBars
from maskmill.pipeline.engine.local_engine import fork_ahead
from maskmill.pipeline.run.describe_counts import masked_lines
from maskmill.pipeline.run.find_packed import find_packed
from maskmill.pipeline.run.mask import mask_dataset
from maskmill.pipeline.run.mask_settings import read_mask_settings
from maskmill.pipeline.storage.datasets import read_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.manifest import PackedManifest


def mask(dataset: str, overrides: Sequence[str], as_json: bool, remove_old: bool) -> int:
    """Mask the rows of a dataset, and print what it has now; returns the exit status.

    Args:
        dataset: The path or URL of a packed dataset, or of a run's output.
        overrides: As given with `--set`.
        as_json: Write one JSON line for each event, and nothing else.
        remove_old: Delete the files of all other versions.
    """
    store = find_packed(open_store(dataset))
    settings = read_mask_settings(read_manifest(store, PackedManifest), overrides, store.display_url)
    if settings.engine.kind == "local":
        fork_ahead(settings.engine.workers)
    console = open_console(soft_wrap=True)
    listen = JsonLines() if as_json else LiveBars(console)
    try:
        masked = mask_dataset(store, settings, listen, remove_old=remove_old)
    finally:
        listen.close()
    if not as_json:
        for line in masked_lines(masked):
            console.print(line)
    return 0

"""List what an output contains: the folders of its parts, and whether each is finished."""

from __future__ import annotations

from maskmill.pipeline.run.parts import scope_of_folder
from maskmill.pipeline.run.record import RunRecord, read_record
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.layout import Folder


def list_parts(store: Store) -> dict[str, bool]:
    """List the folders of a run's parts in their order, and whether each has a manifest.

    A folder with a name, such as `packed-short/`, belongs to the run if its record knows the name, and one with a
    length if the record asks for it: `packed-old/` and `packed-64/` may be copies made by a user. Without a
    record, a folder with a name belongs to the run if it has a manifest.
    """
    files: dict[str, set[str]] = {}
    for path in store.list():
        folder, slash, name = path.partition("/")
        if slash:
            files.setdefault(folder, set()).add(name)
    record = _read_record(store)
    promised = {} if record is None else record.promised()
    found: dict[Folder, bool] = {}
    for name, inside in files.items():
        parsed = Folder.parse(name)
        is_finished = MANIFEST in inside
        if parsed is None:
            continue
        if record is None:
            is_ours = is_finished or not parsed.of
        elif parsed.seq_len is not None:
            is_ours = name in promised
        else:
            is_ours = not parsed.of or scope_of_folder(name) in record.entries
        if is_ours:
            found[parsed] = is_finished
    return {folder.name: found[folder] for folder in sorted(found, key=lambda folder: folder.place_in_order)}


def _read_record(store: Store) -> RunRecord | None:
    try:
        return read_record(store, checked=False)
    except (MaskmillError, FileNotFoundError):
        return None

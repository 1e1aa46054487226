"""What there is in an output: the folders of its parts, and whether each is finished."""

from __future__ import annotations

from maskmill.pipeline.run.parts import Scope, scope_of_folder
from maskmill.pipeline.run.record import parse_record
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.layout import RUN_RECORD, Folder


def list_parts(store: Store) -> dict[str, bool]:
    """The folders of a run's output that belong to its parts, in their order, and whether each has a manifest.

    A folder with a name, such as `packed-short/`, belongs to the run if its record knows the name: `packed-old/` may be
    a copy that somebody made. Without a record it belongs to the run if it has a manifest.
    """
    files: dict[str, set[str]] = {}
    for path in store.list():
        folder, slash, name = path.partition("/")
        if slash:
            files.setdefault(folder, set()).add(name)
    known = _read_scopes(store)
    found: dict[Folder, bool] = {}
    for name, inside in files.items():
        parsed = Folder.parse(name)
        is_finished = MANIFEST in inside
        if parsed and (not parsed.of or (is_finished if known is None else scope_of_folder(name) in known)):
            found[parsed] = is_finished
    return {folder.name: found[folder] for folder in sorted(found, key=lambda folder: folder.place_in_order)}


def _read_scopes(store: Store) -> set[Scope] | None:
    """The tokenizers and packings that the record knows; `None` without a record that can be read."""
    try:
        record = parse_json(store.read_bytes(RUN_RECORD, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
        return set(parse_record(record).entries)
    except (MaskmillError, FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

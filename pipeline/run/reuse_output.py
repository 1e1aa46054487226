"""Find the map units of a run that another output has already read, for `input.reuse`.

The other output is only read, and only while there are files left to read: once this run is finished it may be deleted.
It does not matter whether another driver works in it: once its documents are finished, its map units never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import ConfigDict, Field

from maskmill.pipeline.corpus.input_pattern import InputPattern, name_sources
from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.corpus.plan import Buckets
from maskmill.pipeline.corpus.plan_map_units import MapUnit, plan_group_bytes, plan_map_units
from maskmill.pipeline.corpus.take_unit import ADVICE, advised_reuse
from maskmill.pipeline.corpus.unit_keys import (
    KEY_CHARACTERS,
    ReadingSettings,
    is_appendable,
    key_units,
    list_reading_settings,
)
from maskmill.pipeline.engine.receipts import iter_left_receipts, list_finished
from maskmill.pipeline.engine.stage import check_visible
from maskmill.pipeline.engine.units import UnitSequence
from maskmill.pipeline.run.open_run import Run, place_of
from maskmill.pipeline.run.record import DOCUMENTS, RunRecord, read_record
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.layout import RECEIPTS, RUN_RECORD, DataSplit, documents_folder
from maskmill.schemas.receipt import Details
from maskmill.schemas.wording import count_of, setting_of, size_of

KEY = "input.reuse"


class _Key(Details):
    model_config = ConfigDict(extra="ignore")

    key: Annotated[str, Field(max_length=KEY_CHARACTERS)]


class _KeyAlone(Details):
    """The key of a map unit alone, so that nothing else of its details is held in memory."""

    model_config = ConfigDict(extra="ignore")

    kept: _Key | None = None


def plan_reuse(run: Run, units: UnitSequence[MapUnit]) -> tuple[Store | None, UnitSequence[MapUnit]]:
    """Give the map units of an appendable run their keys, and mark those to take from the output that it reuses.

    Returns:
        That output, or `None` if nothing is taken; then the units.

    Raises:
        ConfigError: It is not a finished output that can be appended to, it is this run's own, or units cannot see it.
        ShardCorruptError: One of its files is not what was written.
        StaleArtifactError: One of its files was deleted meanwhile.
    """
    record = read_record(run.output)
    ours = [_reading_settings(record, table) for table in range(len(run.settings.input))]
    keyed = key_units(units, ours)
    url = run.settings.reuse
    done = set() if url is None else list_finished(run.output, MAP.name)
    pending = [number for number in range(len(keyed)) if number not in done]
    if url is None or not pending:
        return None, keyed
    if place_of(open_store(url).url) == place_of(run.output.url):
        raise _refusal("an output cannot reuse its own work", run.output.display_url, "drop it, or name another output")
    reused = open_store(url)
    check_visible(reused, run.engine())
    theirs = _read_reusable(reused)
    with advised_reuse():
        wanted = {key: number for number in pending if (key := keyed[number].key)}
        taken: dict[int, int] = {}
        theirs_read = set[str]()
        is_empty = True
        for receipt in iter_left_receipts(reused, MAP.name, _KeyAlone):
            is_empty = False
            kept = receipt.details.kept
            if kept is not None:
                theirs_read.add(kept.key)
            if kept is not None and kept.key in wanted:
                taken.setdefault(wanted[kept.key], receipt.unit)
    if is_empty:
        raise _refusal(
            "this output no longer has its map work",
            reused.locate(RECEIPTS),
            "restore its folder work/, or drop input.reuse",
        )
    if not taken:
        both = ((own, _reading_settings(theirs, table)) for table, own in enumerate(ours))
        reasons = (_find_reason(own, other, has_marks=bool(wanted)) for own, other in both if other["input.text_field"])
        reason = next(filter(None, reasons), "") or _explain_files(*_find_renamed(run, ours, theirs_read))
        run.warn(f"input.reuse: nothing is taken from {reused.display_url}: {reason}")
        return None, keyed
    size_bytes = sum(keyed[unit].size_bytes for unit in taken)
    run.note(
        f"{len(taken):,} of {count_of(len(keyed), 'unit')}, {size_of(size_bytes)} of input, are taken from "
        f"{reused.display_url}"
    )
    return reused, keyed.map(lambda unit: unit.model_copy(update={"taken_from": taken.get(unit.unit)}))


def _reading_settings(record: RunRecord, table: int = 0) -> ReadingSettings:
    documents = record.entries[DOCUMENTS]
    return list_reading_settings(documents.sections, documents.versions, table)


def _read_reusable(reused: Store) -> RunRecord:
    """Read the record of an output whose map work can be reused."""
    try:
        record = read_record(reused)
    except FileNotFoundError:
        action = "check the URL, or drop input.reuse"
        raise _refusal("there is no output to reuse", reused.display_url, action, f"no {RUN_RECORD}") from None
    except ShardCorruptError as error:
        error.action = ADVICE
        raise
    except ConfigError as error:
        error.action = f"drop input.reuse, or {error.action}"
        raise
    if not is_appendable(record.entries[DOCUMENTS].sections):
        raise _refusal(
            "this output was made without documents.appendable, so it has kept nothing to reuse",
            reused.display_url,
            "drop input.reuse; the new output can be reused later",
        )
    if not reused.exists(f"{documents_folder(DataSplit.TRAIN)}/{MANIFEST}"):
        raise _refusal(
            "the documents of this output are not finished",
            reused.display_url,
            "finish its run first, or drop input.reuse",
        )
    return record


def _find_reason(ours: ReadingSettings, theirs: ReadingSettings, *, has_marks: bool) -> str:
    """The reason why the two runs can share no unit; empty if it is only their files."""
    differing = [name for name, value in ours.items() if theirs[name] != value]
    if differing:
        made_with, has = (", ".join(f"{name} = {setting_of(of[name])}" for name in differing) for of in (theirs, ours))
        return f"it was made with {made_with}, and this run has {has}"
    if not has_marks:
        return "the store of the input files does not give their modification times"
    return ""


def _explain_files(ours: str, theirs: str) -> str:
    """The reason why no unit has the same files, by the relative paths of one file in the two runs."""
    if not ours:
        return "none of its units has the same files with the same sizes and modification times"
    return (
        f"relative paths differ: {ours} was {theirs} there, because its input.paths were patterns in other folders; "
        "use the same ones, such as one pattern over all folders"
    )


def _find_renamed(run: Run, ours: Sequence[ReadingSettings], theirs_read: set[str]) -> tuple[str, str]:
    """Find a file whose relative paths in the two runs differ only by the name of its pattern's folder.

    If patterns are in several folders, every path begins with the folder's name; otherwise it does not.
    """
    folders = list(
        dict.fromkeys(name_sources([InputPattern.parse(path) for table in run.settings.input for path in table.paths]))
    )
    for folder in folders:
        start = f"{folder}/"
        if len(folders) > 1:
            names = {file.path: file.path[len(start) :] for file in run.inputs if file.path.startswith(start)}
        else:
            names = {file.path: f"{start}{file.path}" for file in run.inputs}
        ours_of = {there: here for here, there in names.items()}
        renamed = [replace(file, path=names[file.path]) for file in run.inputs if file.path in names]
        group_bytes = plan_group_bytes(run.settings.documents, run.shard_bytes, run.inputs.assumed_text_bytes)
        units = plan_map_units(renamed, group_bytes, Buckets(1, 0), run.settings.input, appendable=True)
        for unit in key_units(units, ours):
            if unit.key in theirs_read:
                return ours_of[unit.paths[0]], unit.paths[0]
    return "", ""


def _refusal(what: str, found: str, action: str, detail: str = "") -> ConfigError:
    return ConfigError(what, path=KEY, found=f"{found}: {detail}" if detail else found, action=action)

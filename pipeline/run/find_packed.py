"""Find the packed dataset that a user means, and the folder that its driver must hold."""

from __future__ import annotations

import os

from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.paths import split_file_url
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import RUN_RECORD, Folder, Kind


def find_packed(store: Store) -> Store:
    """The dataset at a URL: the folder itself, or the only one to train on in a run's output.

    Raises:
        ConfigError: It is a run's output without a finished packed dataset, or with several to train on.
    """
    if store.exists(MANIFEST):
        return store
    parts = list_parts(store)
    packed = [name for name in parts if (folder := Folder.parse(name)) and folder.kind is Kind.PACKED]
    trained_on = [name for name in packed if not _is_held_out(name)]
    if not trained_on:
        if not parts and not store.exists(RUN_RECORD):
            return store  # reading its manifest says what is wrong
        raise _refuse(store, "no packed dataset", "finish the run with maskmill prepare")
    if len(trained_on) > 1:
        finished = [store.locate(name) for name in packed if parts[name]]
        action = f"give {' or '.join(finished)}" if finished else "finish the run with maskmill prepare"
        raise _refuse(store, ", ".join(trained_on), action)
    if not parts[trained_on[0]]:
        raise _refuse(store, f"an unfinished {trained_on[0]}", "finish the run with maskmill prepare")
    return store.below(trained_on[0])


def _is_held_out(name: str) -> bool:
    folder = Folder.parse(name)
    return folder is not None and folder.split.is_held_out


def _refuse(store: Store, found: str, action: str) -> ConfigError:
    return ConfigError(
        "this output of a run is not one packed dataset",
        path=store.display_url,
        expected="one finished packed dataset to train on",
        found=found,
        action=action,
    )


def find_owner(dataset: Store) -> Store:
    """The folder that a driver of a dataset holds: the run's output around it, or else the dataset itself."""
    folder, name = _split(dataset)
    if Folder.parse(name) is not None:
        output = open_store(folder, dataset.options)
        if output.exists(RUN_RECORD):
            return output
    return dataset


def name_of_dataset(dataset: Store) -> str:
    """The name of a dataset's folder, links resolved."""
    return _split(dataset)[1]


def _split(dataset: Store) -> tuple[str, str]:
    is_local = dataset.capabilities.local_paths
    return split_file_url(os.path.realpath(dataset.root) if is_local else dataset.url)

"""Names of files below an output."""

from __future__ import annotations

from maskmill.schemas.layout import (
    is_of_quarantined_documents,
    is_of_quarantined_inputs,
    masks_folder,
    packed_shard_path,
    quarantined_documents_path,
    quarantined_inputs_path,
    version_of_path,
)


def test_each_file_of_the_quarantine_belongs_to_one_owner() -> None:
    folders = ("packed", "packed-128", "packed-heldout", "packed-heldout-128")
    paths = {folder: quarantined_documents_path(folder, 3) for folder in folders}
    assert paths["packed-128"] == "quarantine/packed-128-shard-00003.arrow"
    for folder, path in paths.items():
        assert [one for one in folders if is_of_quarantined_documents(path, one)] == [folder]
        assert not is_of_quarantined_inputs(path)
    inputs = quarantined_inputs_path(7, 1)
    assert inputs == "quarantine/inputs-000007-001.arrow"
    assert is_of_quarantined_inputs(inputs)
    assert not any(is_of_quarantined_documents(inputs, folder) for folder in folders)


def test_each_file_of_a_packed_dataset_belongs_to_one_version() -> None:
    other = masks_folder("0123456789abcdef" * 2)
    for folder, version in (("packed", ""), (f"packed/{other}", other)):
        names = [packed_shard_path(folder, 3, 0, True), packed_shard_path(folder, 123456, 7, False)]
        for name in (*names, f"{folder}/shards.arrow"):
            assert version_of_path(name.removeprefix("packed/")) == version
    for name in ("manifest.json", "tokenizer.json", "notes.txt", "masks-0", "a/shard-00000.arrow", "shard-0.arrow.bak"):
        assert version_of_path(name) is None

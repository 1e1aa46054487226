"""The version in every written schema, and the error for another major version.

A new minor version may only add fields at the end of a manifest's models; whatever an older reader must not ignore
needs a new major version.
"""

from __future__ import annotations

import re

from maskmill.schemas.errors import RESTORE, ConfigError

SCHEMA_VERSION = "2.0"
"""In all files but those below: what is written has not changed since."""
PACKED_MANIFEST_VERSION = "2.1"
"""In manifests of packed datasets, which say since then which pieces continue a word."""
PAIRS_MANIFEST_VERSION = "2.2"
"""In those of datasets with pairs, whose counts no earlier version accepts."""
WORDS_MANIFEST_VERSION = "2.3"
"""In those of datasets that store where words start, whose vocabulary no earlier version accepts."""
DOCUMENTS_MANIFEST_VERSION = "2.4"
"""In those of documents, in their shards and in the quarantine: since then a document does not say which file it came
from. The newest that is read. Documents of which filters had dropped some were 2.3 before."""


def packed_manifest_version(*, pairs: bool, words: bool) -> str:
    """The version in the manifest of a packed dataset, given whether it has pairs and stores word starts."""
    if words:
        return WORDS_MANIFEST_VERSION
    return PAIRS_MANIFEST_VERSION if pairs else PACKED_MANIFEST_VERSION


def check_schema_version(found: str, path: str) -> None:
    """Reject what another maskmill wrote in a way that this one cannot read.

    Args:
        found: The version in the file, `major.minor`.
        path: The file, for the message.

    Raises:
        ConfigError: The major number is not ours, or the text is not a version.
    """
    major, minor = split_version(found) or (None, None)
    if major is None or minor is None:
        raise ConfigError(
            "the schema version cannot be read",
            path=path,
            expected=f"a version such as {SCHEMA_VERSION}",
            found=repr(found),
            action=RESTORE,
        )
    if major > _OUR_MAJOR:
        raise too_new(found, path)
    if major < _OUR_MAJOR:
        raise ConfigError(
            "written by an older maskmill",
            path=path,
            expected=f"schema version {SCHEMA_VERSION}",
            found=found,
            action="write the dataset again with this version, or read it with the one that wrote it",
        )


def is_readable(found: str) -> bool:
    """Whether a version has our major number."""
    return (split_version(found) or (0, 0))[0] == _OUR_MAJOR


def is_newer_minor(found: str) -> bool:
    """Whether a version that `check_schema_version` accepts may have fields that this maskmill does not know."""
    return (split_version(found) or (0, 0)) > (_OUR_MAJOR, _OUR_MINOR)


def too_new(found: str, path: str) -> ConfigError:
    """The error for what a newer maskmill wrote."""
    return ConfigError(
        "written by a newer maskmill",
        path=path,
        expected=f"schema version {_OUR_MAJOR}.x",
        found=found,
        action="upgrade maskmill, or write the dataset again with this version",
    )


def split_version(version: str) -> tuple[int, int] | None:
    """Parse `major.minor`; `None` if it is not a version."""
    match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", version)
    return (int(match[1]), int(match[2])) if match else None


_OUR_MAJOR, _OUR_MINOR = split_version(DOCUMENTS_MANIFEST_VERSION) or (0, 0)

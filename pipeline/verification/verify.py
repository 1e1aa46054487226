"""Verify a dataset or a whole run, for `maskmill verify` and for programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.settings import check_callback, check_url
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.check_parts import Verified
from maskmill.pipeline.verification.findings import Finding
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.events import PartVerified, ShardVerified, VerifyListener
from maskmill.schemas.layout import RUN_RECORD


@dataclass(frozen=True)
class VerifyReport:
    """The result of a verification.

    Attributes:
        url: What was verified, without credentials.
        parts: Every dataset and tokenizer, and for a run, last, the findings about how they fit together.
        knows_all: Whether it is known which parts must exist; for parts copied out of a run it is not.
    """

    url: str
    parts: tuple[Verified, ...]
    knows_all: bool

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, each with its path; empty if nothing is."""
        return tuple(finding for part in self.parts for finding in part.findings)


def verify(
    url: str | os.PathLike[str],
    on_event: VerifyListener | None = None,
    *,
    on_part: Callable[[Verified], None] | None = None,
    storage_options: dict[str, Any] | None = None,
) -> VerifyReport:
    """Read a dataset or a whole run again and check every checksum, count, boundary, special token and mask.

    What is wrong is a finding, not an error: whatever can be read is verified.

    For example::

        report = verify("out")
        for finding in report.findings:
            print(finding.path, finding.what)

    Args:
        url: A dataset's folder, or the whole output of a run: a path or any fsspec URL.
        on_event: Callback that receives every event (`maskmill.schemas.events`), in this process.
        on_part: Callback that receives each dataset and tokenizer as soon as it is verified.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: There is nothing that can be verified, or an argument is wrong.
        TransientStorageError: The store failed every attempt.
    """
    store = open_store(check_url(url, "url"), storage_options)
    check_callback(on_event, "on_event")
    check_callback(on_part, "on_part")

    def report_shard(path: str, done: int, total: int) -> None:
        if on_event is not None:
            on_event(ShardVerified(path=path, done=done, shards=total))

    parts = []
    for part in verify_output(store, report_shard, threads=len(os.sched_getaffinity(0))):
        parts.append(part)
        if on_event is not None:
            findings = tuple(map(str, part.findings))
            on_event(PartVerified(path=part.path, findings=findings, warnings=tuple(part.warnings)))
        if on_part is not None:
            on_part(part)
    return VerifyReport(store.display_url, tuple(parts), store.exists(MANIFEST) or store.exists(RUN_RECORD))

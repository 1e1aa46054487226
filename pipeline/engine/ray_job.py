"""Refuse an output that a Ray job would lose: one in the copy of the working directory that Ray keeps on a node.

`ray job submit --working-dir .` unpacks the folder into Ray's cache on the node that runs the command, and starts it
there. A relative path is then a folder in that cache, which Ray deletes.
"""

from __future__ import annotations

import os

from maskmill.pipeline.storage.paths import LOCAL_PROTOCOLS, resolve_url, split_url
from maskmill.schemas.errors import ConfigError

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the command of a submitted job, and for nothing else (2.60, `job_supervisor.py`)."""
CACHE = f"{os.sep}runtime_resources{os.sep}working_dir_files{os.sep}"
"""Part of the path of every working directory that Ray has unpacked on a node."""


def refuse_lost_output(url: str, key: str) -> None:
    """Make sure that the output is not in a place that Ray deletes.

    Args:
        url: The folder to write into.
        key: The key that names it, for the message.

    Raises:
        ConfigError: It is relative inside a Ray job, lies in Ray's cache, or is a chain of URLs.
    """
    protocol, path = split_url(url)
    if protocol not in LOCAL_PROTOCOLS:
        return
    resolved = resolve_url(url)
    is_relative = not os.path.isabs(os.path.expanduser(path))
    if CACHE in f"{resolved}{os.sep}":
        where = "which lies in Ray's cache on this node, and is deleted with it"
    elif is_relative and IN_JOB in os.environ:
        where = "a folder of whichever node runs the job"
    else:
        return
    raise ConfigError(
        "this output would be lost: the command runs inside a Ray job",
        path=key,
        expected="an object store, or an absolute path on a disk that every node shares",
        found=f"{url!r}, that is {resolved}, {where}",
        action=f"for example --set {key}=s3://bucket/run",
    )

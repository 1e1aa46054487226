"""S3 servers for tests: moto, always there, and Ceph's radosgw where it is installed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import answers, find_free_ports, start_python, stop_process, wait_until

MOTO_SCRIPT = Path(__file__).with_name("moto_server.py")
CEPH_SCRIPT = Path(__file__).parents[2] / "infra" / "ceph_rgw.sh"
CEPH_PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")


@contextlib.contextmanager
def run_moto() -> Iterator[str]:
    """An S3 server in memory; yields its endpoint."""
    (port,) = find_free_ports(1)
    process = start_python(str(MOTO_SCRIPT), str(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), "moto")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_process(process)


@contextlib.contextmanager
def run_ceph() -> Iterator[str]:
    """A Ceph object store with its data in a temporary folder; yields its endpoint."""
    s3_port, mon_port = find_free_ports(2)
    folder = tempfile.mkdtemp(prefix="maskmill-ceph-")
    try:
        start = [CEPH_SCRIPT, "start", folder, str(s3_port), str(mon_port)]
        # A file, not a pipe: the daemons inherit it and would keep a pipe open.
        with open(f"{folder}/start.log", "wb") as log:
            subprocess.run(start, check=True, timeout=90, stdout=log, stderr=log)
        yield f"http://127.0.0.1:{s3_port}"
    finally:
        subprocess.run([CEPH_SCRIPT, "stop", folder], check=True, timeout=60)
        shutil.rmtree(folder)


def has_ceph() -> bool:
    """Whether all of Ceph's programs are installed."""
    return all(shutil.which(program) for program in CEPH_PROGRAMS)

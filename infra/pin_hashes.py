"""Write constraints-hashed.txt: every package that constraints.txt pins, with the checksums of its files.

    python infra/pin_hashes.py

Asks pip, which asks the package index that it is configured for, which file it would install of each pinned version on
every supported Python and platform; nothing is installed. A checksum already in the file is kept as long as the
version: one of a build that this index does not offer, such as torch's for CPUs alone, is added on a machine whose pip
finds it. The two files are apart because pip takes no hashes from a constraints file: with one, it demands them of
every requirement too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

PINS = Path(__file__).parent.parent / "constraints.txt"
HASHED = PINS.with_name("constraints-hashed.txt")
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC_MINORS = range(17, 36)
MACHINES = ("x86_64", "aarch64")
HEADER = """\
# constraints.txt with the SHA-256 of every package's files for CPython 3.11 to 3.13 on Linux, x86_64 and aarch64, and
# of torch's build for CPUs alone for CPython 3.11 on x86_64. Written by infra/pin_hashes.py.
# pip install --require-hashes --no-deps -r constraints-hashed.txt
# pip install --no-build-isolation -e '.[prepare,fast,cjk,filters,train,dev]'
"""

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_MISSING = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)==")


def read_pins(text: str) -> dict[str, tuple[str, set[str]]]:
    """Read package name to version and checksums."""
    pins: dict[str, tuple[str, set[str]]] = {}
    name = ""
    for line in text.splitlines():
        if found := _PIN.match(line):
            name = found[1]
            pins[name] = (found[2], set())
        if name:
            pins[name][1].update(_HASH.findall(line))
    return pins


def dump_pins(pins: dict[str, tuple[str, set[str]]]) -> str:
    """Write what `read_pins` reads, in the order of names."""
    lines = [HEADER]
    for name, (version, hashes) in sorted(pins.items(), key=lambda item: item[0].lower()):
        words = [f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(hashes))]
        lines.append(" \\\n    ".join(words) + "\n")
    return "".join(lines)


def ask_pip(pins: Iterable[str], options: Iterable[str]) -> dict[str, str]:
    """Ask which file pip would install of each pin; those of which it finds none are left out.

    Returns:
        Name in lower case with dashes to SHA-256.
    """
    wanted = list(pins)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        while wanted:
            asked = [*command, "--target", folder, "--report", str(report), *options, *wanted]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603  # pip and our pins
            if done.returncode == 0:
                items = json.loads(report.read_text())["install"]
                return {
                    _normalise(item["metadata"]["name"]): item["download_info"]["archive_info"]["hashes"]["sha256"]
                    for item in items
                }
            missing = set(_MISSING.findall(done.stderr))
            left = [pin for pin in wanted if pin.partition("==")[0] not in missing]
            if len(left) == len(wanted):
                raise SystemExit(done.stderr)
            print(f"no file of {', '.join(sorted(missing))} for {' '.join(options)}", file=sys.stderr)
            wanted = left
    return {}


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Add the checksums of this machine's files and of every supported platform's."""
    pins = read_pins(PINS.read_text())
    standing = read_pins(HASHED.read_text()) if HASHED.exists() else {}
    for name, (version, hashes) in pins.items():
        if name in standing and standing[name][0] == version:
            hashes |= standing[name][1]
    wanted = [f"{name}=={version}" for name, (version, _) in pins.items()]
    targets: list[list[str]] = [[]]  # this machine, with builds of its own index
    for python in PYTHONS:
        for machine in MACHINES:
            tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS] + [f"manylinux2014_{machine}"]
            platforms = [option for tag in tags for option in ("--platform", tag)]
            targets.append(["--only-binary", ":all:", "--python-version", python, *platforms])
    for target in targets:
        found = ask_pip(wanted, target)
        for name, (_, hashes) in pins.items():
            if one := found.get(_normalise(name)):
                hashes.add(one)
    HASHED.write_text(dump_pins(pins))


if __name__ == "__main__":
    main()

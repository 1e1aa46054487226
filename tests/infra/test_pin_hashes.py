"""What is pinned is pinned with checksums, in the same versions, and is all that the project asks for."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pin_hashes", ROOT / "infra" / "pin_hashes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pinned_package_has_a_checksum_in_the_same_version(script: ModuleType) -> None:
    pins, hashed = script.read_pins(script.PINS.read_text()), script.read_pins(script.HASHED.read_text())
    assert {name: version for name, (version, _) in pins.items()} == {n: version for n, (version, _) in hashed.items()}
    assert [name for name, (_, hashes) in hashed.items() if not hashes] == []
    assert script.dump_pins(hashed) == script.HASHED.read_text()


def test_every_dependency_is_pinned_within_its_bounds(script: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    pins = {
        script._normalise(name): version for name, (version, _) in script.read_pins(script.PINS.read_text()).items()
    }
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins[script._normalise(requirement.name)]), requirement


def test_no_line_names_a_place_on_the_network(script: ModuleType) -> None:
    for path in (script.PINS, script.HASHED):
        assert not re.search(r"://|--(extra-)?index-url|--find-links", path.read_text()), path


def test_a_package_that_a_platform_lacks_is_left_out_there(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        pins = [word for word in command if "==" in word]
        asked.append(pins)
        if "b==2" in pins:
            return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found for b==2\n")
        report = Path(command[command.index("--report") + 1])
        item = {"metadata": {"name": "A_x"}, "download_info": {"archive_info": {"hashes": {"sha256": "0"}}}}
        report.write_text(json.dumps({"install": [item]}))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert script.ask_pip(["A.x==1", "b==2"], ["--python-version", "3.12"]) == {"a-x": "0"}
    assert asked == [["A.x==1", "b==2"], ["A.x==1"]]

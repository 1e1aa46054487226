"""The installed package: one name, `maskmill`, which nothing of a user's own can shadow.

The installed copy is given the kernels that were compiled for this tree: compiling them anew takes half a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import maskmill
assert maskmill.errors.ConfigError
assert "site-packages" in maskmill.__file__ and {program_folder!r} not in maskmill.__file__
assert not {{"torch", "ray", "numba", "pyarrow"}} & set(sys.modules)
assert set(maskmill.__all__) <= set(dir(maskmill))

for name in ("jobs", "pipeline", "schemas"):  # of the user's
    __import__(name)
assert [sys.modules[name].MINE for name in ("jobs", "pipeline", "schemas")] == [1, 2, 3]

from maskmill import *
from maskmill.errors import ConfigError
batches = MaskedBatches("out/packed", global_batch_rows=2)
assert next(iter(batches)).input_ids.shape == (2, 32)
assert not "ray" in sys.modules
try:
    MaskedBatches("nowhere", global_batch_rows=2)
except ConfigError as error:
    print(error)
try:
    maskmill.nothing
except AttributeError as error:
    print(error)
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("jobs", "pipeline", "schemas", "maskmill"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "built", ".", cwd=folder)
    (built,) = (folder / "built").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and everybody else's packages from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", ".", cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    take_kernels(packages / "maskmill")
    # Of a folder that a .pth file names no .pth file is read: an editable installation of this tree is not seen.
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def take_kernels(package: Path) -> None:
    """Give a copy of this tree its compiled kernels, which numba takes for sources of the same size and time."""
    for kernel in (ROOT / "pipeline").rglob("__pycache__/*.nb[ic]"):
        target = package / kernel.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(kernel, target)
    for source in (ROOT / "pipeline").rglob("*.py"):
        shutil.copystat(source, package / source.relative_to(ROOT))


@pytest.mark.long
def test_the_wheel_holds_one_package_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"maskmill", f"maskmill-{wheel.name.split('-')[1]}.dist-info"}
    assert {"maskmill/py.typed", "maskmill/jobs/cli.py", "maskmill/pipeline/loader/masked_batches.py"} <= set(names)
    in_tree = {
        f"maskmill/{path.relative_to(ROOT)}"
        for folder in ("jobs", "pipeline", "schemas")
        for path in (ROOT / folder).rglob("*.py")
    }
    recipes = {f"maskmill/{path.relative_to(ROOT)}" for path in (ROOT / "pipeline" / "recipes").glob("*.toml")}
    assert recipes == {name for name in names if name.endswith(".toml")} != set()
    assert in_tree == {name for name in names if name.endswith(".py") and name.count("/") > 1}


@pytest.mark.long
def test_a_project_with_packages_of_the_same_names_uses_both(installed: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("jobs", "pipeline", "schemas"), 1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"MINE = {number}\n")
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a few words\n" for number in range(50)))
    (tmp_path / "run.toml").write_text(
        '[input]\npaths = ["text.txt"]\ntext_document = "line"\n[output]\nurl = "out"\n'
        "[tokenizer]\nvocab_size = 64\nmin_frequency = 1\n[pack]\nseq_len = 32\n[engine]\nworkers = 2\n"
    )
    run(sys.executable, "-P", "-m", "maskmill", "prepare", "run.toml", cwd=tmp_path)  # its kernels are compiled already
    run(installed.with_name("maskmill"), "report", "out", cwd=tmp_path)
    run(installed, "-m", "maskmill", "prepare", "run.toml", cwd=tmp_path)
    said = run(installed, "-c", PROGRAM.format(program_folder=str(tmp_path)), cwd=tmp_path).splitlines()
    assert "nowhere" in said[0]
    assert said[1] == "module 'maskmill' has no attribute 'nothing'"


def test_names_of_the_three_folders_are_imported_as_parts_of_maskmill_alone() -> None:
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts:
            lines = path.read_text().splitlines()
            for name in ("jobs", "pipeline", "schemas"):
                starts = (f"import {name}", f"from {name} ", f"from {name}.")
                assert not [line for line in lines if line.strip().startswith(starts)], path

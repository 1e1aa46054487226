"""Preparation runs where torch is not installed, the loader where Ray and the preparation's libraries are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import assert_same_tree, read_tree, write_run_file


def run_without(missing: tuple[str, ...], folder: Path, *arguments: str) -> str:
    """Run this interpreter as if some libraries were not installed, in its workers too; gives its output."""
    (folder / "sitecustomize.py").write_text(f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
""")
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"}
    ended = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_what_is_blocked_is_blocked(tmp_path: Path) -> None:
    program = "import importlib.util\ntry:\n    import torch\nexcept ModuleNotFoundError:\n    print('blocked')"
    assert run_without(("torch",), tmp_path, "-c", program) == "blocked\n"


@pytest.mark.long
def test_preparation_runs_without_torch(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    without = ("torch", "transformers", "safetensors", "ray")
    run_without(without, tmp_path, "-m", "maskmill", "prepare", str(run_file), "--set", "engine.workers=1")
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    run_without(without, tmp_path, "-m", "maskmill", "verify", str(tmp_path / "out"))
    run_without(without, tmp_path, "-m", "maskmill", "report", str(tmp_path / "out"))


@pytest.mark.long
def test_the_loader_runs_without_ray_and_what_prepares(undisturbed: Undisturbed, tmp_path: Path) -> None:
    program = """
import json, sys
from maskmill.pipeline.loader import MaskedBatches
options = {"masking": "static"} if "static" in sys.argv else {}
batches = MaskedBatches(sys.argv[1], global_batch_rows=8, **options)
print(json.dumps([batch.row_ids.tolist() for batch in batches.epochs(1)]))
assert "pandas" not in sys.modules, "0.3 s before the first batch"
"""
    without = ("ray", "nanotoken", "datasets", "tokenizers", "transformers")
    packed = str(undisturbed.output / "packed")
    dynamic = json.loads(run_without(without, tmp_path, "-c", program, packed))
    static = json.loads(run_without(without, tmp_path, "-c", program, packed, "static"))
    assert dynamic == static
    served = [row for batch in dynamic for row in batch]
    assert len(served) == len(set(served)) > 1000

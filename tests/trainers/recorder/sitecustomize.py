"""Python runs this at its start in every process of a page's script, however the trainer starts them.

It waits for the model's module to be imported, and lets `tests.trainers.record_model` watch the model from then on.
"""

from __future__ import annotations

import importlib.util
import os
import sys

CLASS = os.environ.get("MASKMILL_WATCHED", "")
FAMILY = CLASS.removesuffix("ForMaskedLM").lower()
WATCHED = f"transformers.models.{FAMILY}.modeling_{FAMILY}"


class WatchImport:
    """A finder that finds what the others find, and adds a last step to the import of one module."""

    def find_spec(self, name, *_):
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run_module = spec.loader.exec_module

        def run_and_watch(module):
            run_module(module)
            from tests.trainers.record_model import watch_model

            watch_model(getattr(module, CLASS), os.environ["MASKMILL_RECORD"])

        spec.loader.exec_module = run_and_watch
        return spec


if "MASKMILL_RECORD" in os.environ:
    sys.meta_path.insert(0, WatchImport())

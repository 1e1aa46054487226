"""A store that one node of a cluster sees elsewhere: what a folder that is not shared looks like."""

from __future__ import annotations

import os

from maskmill.pipeline.storage.store import Store

NODE_VARIABLE = "MASKMILL_TEST_FOGGY_NODE"


class FoggyStore(Store):
    """A local folder; in processes with `NODE_VARIABLE` set, another one of the same name on "their" disk."""

    def __init__(self, url: str) -> None:
        super().__init__(url + os.environ.get(NODE_VARIABLE, ""))
        self.shared_url = url

    def __reduce__(self) -> tuple[object, ...]:
        return (FoggyStore, (self.shared_url,))

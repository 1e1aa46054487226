from __future__ import annotations

import pytest

from pipeline.training.device import resolve_device
from schemas.errors import ConfigError


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match="no such device") as caught:
        resolve_device(name)
    error = caught.value
    assert (error.path, error.action) == ("run.device", "change run.device")
    assert repr(name) in error.found
    assert error.expected

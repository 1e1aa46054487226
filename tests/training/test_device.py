from __future__ import annotations

import pytest

from maskmill.pipeline.training.device import resolve_device
from maskmill.schemas.errors import ConfigError


@pytest.mark.parametrize("name", ["mps", "mps:0", "xpu", "meta", "hpu", "xla"])
def test_a_kind_of_device_that_training_is_not_tested_on_is_refused(name):
    with pytest.raises(ConfigError, match="maskmill does not run on") as caught:
        resolve_device(name)
    assert repr(name) in caught.value.found
    assert "cuda:1" in caught.value.expected


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cuda:x", ""])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=r"no such device on this machine|no device has such a name") as caught:
        resolve_device(name)
    error = caught.value
    assert (error.path, error.action) == ("run.device", "change run.device")
    assert repr(name) in error.found
    assert error.expected

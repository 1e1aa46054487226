"""Any state that is handed in gives an error of ours, or a loader that goes on; never another error, never a hang."""

from __future__ import annotations

import copy
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.schemas.errors import ConfigError, MaskmillError, StaleArtifactError
from tests.loader.streams import open_loader

SETTINGS = {"global_batch_rows": 24, "partitions": 3, "shuffle_blocks": 2, "micro_batch_rows": 8}
HUGE = 10**5000  # more digits than Python turns into text
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 40),
        st.sampled_from([2**31, 2**32, 2**38, 2**38 + 1, 2**63, 2**64, -(2**63)]),
        st.sampled_from([1, -1]).map(HUGE.__mul__),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.sampled_from(["9" * 4000, "9" * 6000, "1e999", "0" * 100_000]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner),
    max_leaves=4,
)


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_state_is_refused_or_gone_on_from(data, dataset):
    loader = open_loader(dataset, **SETTINGS)
    state = loader.state_dict()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(state, key=repr)))
        kind = data.draw(st.sampled_from(["value", "element", "drop", "name"]))
        if kind == "element" and isinstance(state[name], list) and state[name]:
            state[name] = copy.copy(state[name])
            state[name][0] = data.draw(values)
        elif kind == "drop":
            del state[name]
        elif kind == "name":
            state[data.draw(st.one_of(st.text(max_size=4), st.integers(), st.none()))] = data.draw(values)
        else:
            state[name] = data.draw(values)
        if not state:
            break
    refused: MaskmillError | None = None
    try:
        loader.load_state_dict(state)
    except (ConfigError, StaleArtifactError) as error:
        refused = error
    if refused is None:
        assert len(list(islice(loader, 1))) == 1
    else:
        assert refused.path == "loader state"
        assert len(str(refused)) < 3000


@pytest.mark.parametrize("state", [None, [], "x", 1, {1: 2}, {"version": 2}, {None: None}])
def test_what_is_no_state_is_refused(state, dataset):
    with pytest.raises(ConfigError, match="not a state"):
        open_loader(dataset, **SETTINGS).load_state_dict(state)


@pytest.mark.parametrize(("epoch", "step"), [(2**38, 0), (2**38, 1), (2**38 - 1, 3)])
def test_a_place_beyond_every_run_is_refused(epoch, step, dataset):
    loader = open_loader(dataset, **SETTINGS)
    with pytest.raises(ConfigError, match="not a state"):
        loader.load_state_dict(loader.state_dict() | {"epoch": epoch, "step": step})

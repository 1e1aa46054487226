"""States with token weights: as short as others, exact, and those of earlier versions go on."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from maskmill.pipeline.loader import MaskedBatches, Masking, Phase
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.loader.datasets import VOCAB_SIZE
from tests.loader.streams import hash_batches

WEIGHTS = [1 + token % 7 for token in range(VOCAB_SIZE)]
OTHERS = [1 + token % 6 for token in range(VOCAB_SIZE)]
WEIGHED = Masking(rate=0.3, seed=4, token_weights=WEIGHTS)


def open_weighed(dataset, masking=WEIGHED, phases=None):
    data = dataset if phases is None else [Phase(3 * n, dataset, masking=one) for n, one in enumerate(phases)]
    return MaskedBatches(data, global_batch_rows=8, masking=masking)


def as_before(state, masking, phases=()):
    """The state as earlier versions wrote it: with all weights."""
    old = {name: value for name, value in state.items() if name != "token_weights"}
    old["masking"] = masking.model_dump(mode="json")
    if any(phases):
        old["phase_maskings"] = [one and one.model_dump(mode="json") for one in phases]
    return json.loads(json.dumps(old))


@pytest.mark.parametrize("phases", [None, (None, WEIGHED), (Masking(rate=0.2), Masking(token_weights=OTHERS))])
@pytest.mark.parametrize("masking", [WEIGHED, Masking(rate=0.1)])
def test_a_state_is_short_and_one_with_all_weights_goes_on(dataset, masking, phases):
    loader = open_weighed(dataset, masking, phases)
    *_, batch = islice(loader, 2)
    expected = hash_batches(list(islice(open_weighed(dataset, masking, phases).skip(2), 3)))
    assert len(json.dumps(batch.state)) < 2000
    plain = masking.token_weights is None and not any(one and one.token_weights for one in phases or ())
    assert ("token_weights" in batch.state) is not plain
    for state in (batch.state, as_before(batch.state, masking, phases or ())):
        resumed = open_weighed(dataset, masking, phases)
        resumed.load_state_dict(state)
        assert hash_batches(list(islice(resumed, 3))) == expected


@pytest.mark.parametrize("other", [Masking(rate=0.3, seed=4), WEIGHED.model_copy(update={"token_weights": "AQID"}),
                                   Masking(rate=0.3, seed=4, token_weights=OTHERS)])  # fmt: skip
def test_other_weights_are_refused_by_name(dataset, other):
    state = next(iter(open_weighed(dataset))).state
    found = [{**state, "token_weights": ["blake2b-" + "0" * 32]}, as_before(state, other)]
    for one in found:
        with pytest.raises(StaleArtifactError, match="another token_weights"):
            open_weighed(dataset).load_state_dict(one)
    without = {name: value for name, value in state.items() if name != "token_weights"}
    with pytest.raises(StaleArtifactError, match="another token_weights"):
        open_weighed(dataset).load_state_dict(without)
    with pytest.raises(StaleArtifactError, match="another token_weights"):
        open_weighed(dataset, Masking(rate=0.3, seed=4)).load_state_dict(state)


@pytest.mark.parametrize("wrong", [3, [3], "x", ["x" * 100], {"a": 1}])
def test_what_is_no_digest_is_refused(dataset, wrong):
    state = next(iter(open_weighed(dataset))).state
    with pytest.raises(ConfigError, match="not a state of this loader"):
        open_weighed(dataset).load_state_dict({**state, "token_weights": wrong})

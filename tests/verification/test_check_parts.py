"""What must hold between the parts of a run."""

from __future__ import annotations

import pytest

from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.check_parts import Verified, check_between
from maskmill.schemas.manifest import TokenizerManifest
from tests.schemas.test_manifest import TOKENIZER


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_encoded_ids_that_the_tokenizer_does_not_have_are_found(beyond: int) -> None:
    tokenizer = TokenizerManifest.model_validate(TOKENIZER)
    encoded = Verified("out/encoded", None, [], num_ids=tokenizer.vocab_size + beyond + 1)
    verified = {"tokenizer": Verified("out/tokenizer", tokenizer, []), "encoded": encoded}
    findings = check_between(open_store("memory://out"), verified)
    assert [str(finding).partition(" has the id ")[0][-7:] for finding in findings] == ["encoded"] * (beyond >= 0)

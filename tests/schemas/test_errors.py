"""Errors survive pickling with every field, and say every part of themselves."""

from __future__ import annotations

import copy
import pickle

import pytest

from maskmill.schemas import errors

CLASSES = [
    errors.ConfigError,
    errors.InputDataError,
    errors.ShardCorruptError,
    errors.StaleArtifactError,
    errors.TransientStorageError,
]
FIELDS = {"path": "a/b", "place": "line 7", "expected": "two", "found": "three", "action": "fix it"}


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("left_out", [None, *FIELDS])
def test_pickling_keeps_class_and_fields(cls: type[errors.MaskmillError], left_out: str | None) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != left_out}
    error = cls("it broke", **fields)
    error.add_note("seen on a Tuesday")
    pickled = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    for again in (pickled, copy.copy(error)):
        assert type(again) is cls
        assert again.what == "it broke"
        assert {name: getattr(again, name) for name in FIELDS} == {name: fields.get(name) for name in FIELDS}
        assert again.__notes__ == ["seen on a Tuesday"]
        assert str(again) == str(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_message_holds_every_part_in_order(cls: type[errors.MaskmillError]) -> None:
    assert str(cls("it broke", **FIELDS)) == "a/b, line 7: it broke; expected two; found three; fix it"
    assert str(cls("it broke")) == "it broke"
    assert str(cls("it broke", place="line 7", found="")) == "line 7: it broke; found "


def test_the_classes_are_told_apart_by_who_must_act() -> None:
    for cls in CLASSES:
        assert [other for other in CLASSES if issubclass(cls, other)] == [cls]
        assert issubclass(cls, errors.MaskmillError)

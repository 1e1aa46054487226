"""The table of formats is the only place that knows them, and the run file offers what is in it."""

from __future__ import annotations

import inspect
import itertools
from typing import Literal, get_args, get_origin

from maskmill.pipeline.corpus.formats.table import FORMATS, find_format, find_magic, recognise_format
from maskmill.schemas.run_file import InputSection


def test_the_run_file_offers_the_formats_of_the_table() -> None:
    annotation = InputSection.model_fields["format"].annotation
    offered = next(one for one in get_args(annotation) if get_origin(one) is Literal)
    assert sorted(get_args(offered)) == sorted(format_.name for format_ in FORMATS)


def test_suffixes_and_first_bytes_tell_formats_apart() -> None:
    for one, other in itertools.permutations(FORMATS, 2):
        assert not set(one.suffixes) & set(other.suffixes)
        assert not any(magic.startswith(other.magic) for magic in one.magic if other.magic)
    for format_ in FORMATS:
        assert {find_format(f"a{suffix}") for suffix in format_.suffixes} == {format_}
        assert all(recognise_format(magic + b"rest") is find_magic(magic) is format_ for magic in format_.magic)


def test_the_documentation_of_the_key_names_each_suffix() -> None:
    said = inspect.getsource(InputSection).partition("    format: ")[2].partition("    text_field")[0]
    assert not [suffix for format_ in FORMATS for suffix in format_.suffixes if f"`{suffix}`" not in said]

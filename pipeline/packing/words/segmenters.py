"""The table of the libraries that find words in text.

To add one, write a module beside this one, and name it here and in `WordBoundaries`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

from maskmill.pipeline.packing.words.segmenter import Segmenter
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.pack_section import WordBoundaries

KEY = "pack.word_boundaries"


def _load_icu() -> Segmenter:
    from maskmill.pipeline.packing.words.icu import IcuSegmenter

    return IcuSegmenter()


_LOADERS: dict[WordBoundaries, Callable[[], Segmenter]] = {WordBoundaries.ICU: _load_icu}


@functools.cache
def load_segmenter(boundaries: WordBoundaries) -> Segmenter | None:
    """Load the library that finds words; `None` if the pieces of the tokenizer decide alone.

    Raises:
        ConfigError: It is not installed.
    """
    if boundaries not in _LOADERS:
        return None
    try:
        return _LOADERS[boundaries]()
    except ImportError as error:
        raise ConfigError(
            "the library that finds words is not installed",
            path=KEY,
            expected=f'"{boundaries}" to be installed on {socket.gethostname()}',
            found=str(error),
            action=f'pip install "maskmill[cjk]", or set {KEY} = "{WordBoundaries.WORDPIECE}"',
        ) from None


def find_version(boundaries: WordBoundaries) -> str | None:
    """The name and version of the library that finds words; `None` if there is none.

    Raises:
        ConfigError: It is not installed.
    """
    segmenter = load_segmenter(boundaries)
    return None if segmenter is None else segmenter.version


def require_version(boundaries: WordBoundaries, version: str | None) -> Segmenter | None:
    """Load the library that finds words, and make sure that it is the one that a run was begun with.

    Raises:
        ConfigError: It is not installed on this machine, or has another version.
    """
    segmenter = load_segmenter(boundaries)
    if segmenter is not None and segmenter.version != version:
        raise ConfigError(
            "this machine has another version of the library that finds words than the run was begun with",
            path=socket.gethostname(),
            expected=str(version),
            found=segmenter.version,
            action="install the same version on every node",
        )
    return segmenter

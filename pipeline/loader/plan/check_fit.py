"""Whether datasets can be read as one: encoded by one tokenizer, with rows of one length and pairs of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.pack_section import Pairs


def check_one_tokenizer(first: PackedManifest, other: PackedManifest, shown_urls: tuple[str, str]) -> None:
    """Refuse two datasets that were encoded differently.

    Args:
        first: One manifest.
        other: The other.
        shown_urls: Where the two datasets are, for people.

    Raises:
        ConfigError: They were.
    """
    _check_equal(first.tokenizer_checksum, other.tokenizer_checksum, "tokenizer_checksum", shown_urls)
    one, two = first.vocabulary, other.vocabulary
    ignored = ["segmenter"]  # rows without stored word starts are read beside others
    if one.continuation_bits is None or two.continuation_bits is None:  # written before words were known
        ignored.append("continuation_bits")
    one, two = (vocabulary.model_copy(update=dict.fromkeys(ignored)) for vocabulary in (one, two))
    if one != two:  # their rows and masks share memory
        raise ConfigError(
            "the datasets have another vocabulary, though their tokenizer is said to be one",
            path=shown_urls[1],
            expected=f"the special tokens, the words and the size of {shown_urls[0]}",
            action="prepare them with one tokenizer",
        )


def check_one_length(first: PackedManifest, other: PackedManifest, shown_urls: tuple[str, str]) -> None:
    """Refuse two datasets whose rows are not equally long; see `check_one_tokenizer`."""
    _check_equal(first.seq_len, other.seq_len, "seq_len", shown_urls)


def check_stored_masks(
    manifest: PackedManifest,
    asked: Masking | None,
    shown_url: str,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse static copies of other settings than those asked for.

    Args:
        manifest: Of the dataset.
        asked: The settings asked for; `None` takes the copies as they are.
        shown_url: Where the dataset is, for people.
        origins: What has set a key, such as `mask.rate`, if it was not `[mask]`.

    Raises:
        ConfigError: The copies were drawn with other settings.
    """
    stored = manifest.masking
    if asked is None or asked == stored or not manifest.copies:  # rows without copies are refused elsewhere
        return
    theirs, wanted = stored.show(), asked.show()
    differing = [name for name in wanted | theirs if wanted.get(name) != theirs.get(name)]
    asked_by: dict[str, list[str]] = {}
    for name in differing:
        asked_by.setdefault(origins.get(f"mask.{name}", "[mask]"), []).append(_say_key(name, wanted))
    as_they_are = (
        "give [mask] the values of the copies" if origins else "leave [mask] out to take the copies as they are"
    )
    raise ConfigError(
        "the static copies of this dataset were drawn with other settings",
        path=shown_url,
        expected="; ".join(f"{', '.join(said)}, as {origin} asks" for origin, said in asked_by.items()),
        found=", ".join(_say_key(name, theirs) for name in differing),
        action=f"store others by `maskmill mask`, {as_they_are}, or draw masks as rows are read",
    )


def _say_key(name: str, shown: Mapping[str, str]) -> str:
    return f"mask.{name} = {shown.get(name, 'unset')}"


def check_one_kind(first: PackedManifest, other: PackedManifest, shown_urls: tuple[str, str]) -> None:
    """Refuse two datasets whose sequences have other labels, or of which one has none; see `check_one_tokenizer`."""
    if first.pairs is not other.pairs:
        raise ConfigError(
            "the datasets have other pairs",
            path=shown_urls[1],
            expected=f"{_name_pairs(first)}, as {shown_urls[0]}",
            found=_name_pairs(other),
            action="in one phase, read datasets that were prepared with one pack.pairs",
        )


def require_pairs(manifest: PackedManifest, wanted: Pairs | None, shown_url: str, asked_by: str = "") -> None:
    """Refuse a dataset without pairs, or with others than are wanted.

    Args:
        manifest: Of the dataset.
        wanted: `None` accepts any pairs.
        shown_url: Where the dataset is, for people.
        asked_by: The key of a file that asks for them, with its value.

    Raises:
        ConfigError: It is refused.
    """
    if manifest.pairs is None or wanted not in (manifest.pairs, None):
        kind = '"nsp" or "sop"' if wanted is None else f'"{wanted}"'
        raise ConfigError(
            "the dataset has no pairs of segments" if manifest.pairs is None else "the dataset has other pairs",
            path=shown_url,
            expected=f"rows that were prepared with pack.pairs = {kind}"
            + (f", as {asked_by} asks" if asked_by else ""),
            found=_name_pairs(manifest),
            action=f"prepare it with pack.pairs = {kind}, or choose an objective that fits it",
        )


def _name_pairs(manifest: PackedManifest) -> str:
    return "no pairs" if manifest.pairs is None else f'pairs = "{manifest.pairs}"'


def _check_equal(expected: object, found: object, name: str, shown_urls: tuple[str, str]) -> None:
    if expected != found:
        raise ConfigError(
            f"the datasets have another {name}",
            path=shown_urls[1],
            expected=f"{expected}, as {shown_urls[0]}",
            found=str(found),
            action="prepare them with one tokenizer and, in one phase, one pack.seq_len",
        )

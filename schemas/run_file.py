"""The run file: one TOML document that describes a run, every key checked, every unknown key named."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.masking import Masking
from schemas.rows import MAX_SEQ_LEN, MIN_SEQ_LEN

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MIN_MB = 0.001
"""1 KiB: below it a size in MiB is a slip, and a shard holds nothing."""
UInt63 = Annotated[int, Field(ge=0, lt=1 << 63)]


class Section(BaseModel):
    """What every section of a run file shares: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class InputSection(Section):
    """`[input]`: which text is read and how.

    Attributes:
        paths: fsspec URLs and globs of `.jsonl` and `.txt` files, plain or `.gz`, `.zst`, `.bz2`, `.xz`.
        text_field: The key of a JSON line that holds the text.
        id_field: The key that holds the document's id; without it the id is `<path>#<line>`.
        source_field: The key that says what a document is counted under; without it, its relative path.
        text_document: What one document is in a `.txt` file: the file, a line, or lines up to a blank one. Lines
            are joined by LF, whatever they ended with, and the last has no end.
        max_document_mb: A document with more MiB of text than this is quarantined. A line of JSON needs up to six
            times as much memory, and a worker holds some copies of it.
        max_quarantined: Share of documents above which the job stops.
    """

    paths: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)]
    text_field: str = "text"
    id_field: str | None = None
    source_field: str | None = None
    text_document: Literal["file", "line", "blank_line"] = "file"
    max_document_mb: Annotated[float, Field(ge=MIN_MB, le=1024)] = 64.0
    max_quarantined: Share = 0.01


class OutputSection(Section):
    """`[output]`: where everything is written."""

    url: Annotated[str, Field(min_length=1)]


class DocumentsSection(Section):
    """`[documents]`: how documents are sharded.

    Attributes:
        shard_mb: MiB of text in a document shard, about; decides what a worker holds in memory, some four times
            as much.
        deduplicate: Drop exact duplicates by content.
        held_out: Share of documents set apart by a keyed content hash.
        seed: Decides the order of documents and which are held out.
    """

    shard_mb: Annotated[float, Field(ge=MIN_MB, le=512)] = 64.0
    deduplicate: bool = True
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    seed: UInt63 = 0


class TokenizerSection(Section):
    """`[tokenizer]`: a vocabulary to train, or one to bring with `from`."""

    vocab_size: Annotated[int, Field(ge=6, lt=1 << 31)] = 30522
    min_frequency: Annotated[int, Field(ge=1)] = 2
    limit_alphabet: Annotated[int, Field(ge=1)] | None = 1000
    max_words: Annotated[int, Field(ge=1)] = 20_000_000
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True
    special_in_text: Literal["text", "special"] = "text"
    from_: str | None = Field(default=None, alias="from")


class PackSection(Section):
    """`[pack]`: how token ids become rows."""

    seq_len: Annotated[int, Field(ge=MIN_SEQ_LEN, le=MAX_SEQ_LEN)] = 512
    cut: Literal["word", "token"] = "word"
    min_segment: Annotated[int, Field(ge=1)] = 16

    @model_validator(mode="after")
    def _segment_fits(self) -> PackSection:
        if self.min_segment > self.seq_len // 2:
            raise ValueError(f"min_segment {self.min_segment} is more than half of a row of {self.seq_len}")
        return self


class MaskSection(Masking):
    """`[mask]`: static copies and the settings of the mask."""

    copies: Annotated[int, Field(strict=True, ge=0, le=100)] = 0

    def masking(self) -> Masking:
        """The settings without `copies`, as the loader takes them."""
        return Masking.model_validate(self.model_dump(exclude={"copies"}))


class EngineSection(Section):
    """`[engine]`: who runs the units. Outside the fingerprint: another engine may finish a run."""

    kind: Literal["local", "ray"] = "local"
    workers: Annotated[int, Field(ge=0)] = 0
    address: str = ""


class RunFile(Section):
    """A whole run file."""

    input: InputSection
    output: OutputSection
    documents: DocumentsSection = DocumentsSection()
    tokenizer: TokenizerSection = TokenizerSection()
    pack: PackSection = PackSection()
    mask: MaskSection = MaskSection()
    engine: EngineSection = EngineSection()

    def fingerprinted(self) -> dict[str, dict[str, object]]:
        """The part of the run file that decides bytes: no engine, no output, no credentials in paths."""
        whole: dict[str, dict[str, object]] = self.model_dump(mode="json", by_alias=True)
        whole.pop("engine")
        whole.pop("output")
        whole["input"]["paths"] = [without_user_info(path) for path in self.input.paths]
        if self.tokenizer.from_ is not None:
            whole["tokenizer"]["from"] = without_user_info(self.tokenizer.from_)
        return whole


def without_user_info(url: str) -> str:
    """A URL without `user:password@` and without its query, fit for logs, manifests and reports.

    User-info ends at the last `@` before the path. Secret keys may hold a `/`, so where `name:secret` stands before
    the first one, it ends at the last `@` of all; `host:port` alone is no user-info.
    """
    # A query holds a `=`; without one, `?` is a glob's sign. So it is where a folder such as `day=1` follows it.
    cleaned = re.sub(r"(?<=\w)\?[^/]*=.*$", "", url) if "://" in url else url
    cleaned = re.sub(r"(?<=://)[^/\s]*@", "", cleaned)
    return re.sub(r"(?<=://)(?!\[)[^/:\s]*:(?![0-9]*(?:/|$))\S*@", "", cleaned)

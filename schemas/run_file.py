"""The run file: one TOML document that describes a run, every key checked, every unknown key named."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.masking import Masking
from schemas.redaction import without_user_info
from schemas.rows import MAX_SEQ_LEN, MIN_SEQ_LEN
from schemas.section import AtLeastOne, Section, Share, UInt63, Url

MIN_MB = 0.001
"""1 KiB: below it a size in MiB is a slip, and a shard holds nothing."""


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

    paths: Annotated[tuple[Url, ...], Field(min_length=1, strict=False)]
    text_field: str = "text"
    id_field: str | None = None
    source_field: str | None = None
    text_document: Literal["file", "line", "blank_line"] = "file"
    max_document_mb: Annotated[float, Field(ge=MIN_MB, le=1024)] = 64.0
    max_quarantined: Share = 0.01


class OutputSection(Section):
    """`[output]`: where everything is written.

    Attributes:
        url: fsspec URL or path of a folder; holds `documents/`, `tokenizer/`, `packed/` and their held-out parts.
    """

    url: Url


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
    """`[tokenizer]`: a vocabulary to train, or one to bring with `from`.

    With `from` nothing is trained and the first four keys have no effect; the next three say how text is normalised
    where a `vocab.txt` is brought. A `tokenizer.json` brings its own normalisation.

    Attributes:
        vocab_size: Pieces in the vocabulary, the five special ones included; fewer where no pair is left to merge.
        min_frequency: Two pieces that stand side by side fewer times than this are not merged.
        limit_alphabet: Characters that are kept, the most frequent ones; a word with any other encodes as [UNK].
            `None`, which only Python can say, keeps all.
        max_words: Distinct words that are trained on, the most frequent ones. It bounds the memory of training, and
            what it cuts is counted.
        lowercase: Map every character to its lower case.
        strip_accents: Drop combining marks after decomposing characters; unset, it is what `lowercase` is.
        handle_chinese_chars: Set every CJK ideograph apart as a word of its own.
        special_in_text: What `[MASK]` and the like are where they stand in raw text: `text` like any other, or the
            `special` token.
        from: Path or URL of a `tokenizer.json`, of a `vocab.txt`, or of a folder with one of them; unset, a
            vocabulary is trained. In Python the field is `from_`.
    """

    vocab_size: Annotated[int, Field(ge=6, lt=1 << 31)] = 30522
    min_frequency: AtLeastOne = 2
    limit_alphabet: AtLeastOne | None = 1000
    max_words: AtLeastOne = 20_000_000
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True
    special_in_text: Literal["text", "special"] = "text"
    from_: str | None = Field(default=None, alias="from")


class PackSection(Section):
    """`[pack]`: how token ids become rows.

    Attributes:
        seq_len: Token ids in a row, [CLS], [SEP] and [PAD] included.
        cut: Where a document longer than a row is cut: at the start of a `word`, or after any `token`. A stretch
            without a word start that fits is cut inside a word, and counted.
        min_segment: Tokens that the last piece of a cut document has at least, by moving the cut before it; where
            the word starts do not allow it, the piece is shorter. At most half of `seq_len`.
    """

    seq_len: Annotated[int, Field(ge=MIN_SEQ_LEN, le=MAX_SEQ_LEN)] = 512
    cut: Literal["word", "token"] = "word"
    min_segment: AtLeastOne = 16

    @model_validator(mode="after")
    def _segment_fits(self) -> PackSection:
        if self.min_segment > self.seq_len // 2:
            raise ValueError(f"min_segment {self.min_segment} is more than half of a row of {self.seq_len}")
        return self


class MaskSection(Masking):
    """`[mask]`: static copies, and how rows are masked; a loader may be given other settings.

    Attributes:
        copies: Masks that are written beside every row, those of epochs 0, 1 and so on; with 0 none is, and the
            loader draws masks as it reads.
        strategy: How the positions that are predicted are chosen: `token`, each alone.
        rate: Share of a row's maskable tokens that is predicted, in whole millionths.
        mask_share: Share of the predicted tokens that is shown as [MASK].
        random_share: Share of them that is shown as a random token; the rest is shown as it is.
        seed: Decides the masks, with a row's number and the epoch.
    """

    copies: Annotated[int, Field(strict=True, ge=0, le=100)] = 0

    def masking(self) -> Masking:
        """The settings without `copies`, as the loader takes them."""
        return Masking.model_validate(self.model_dump(exclude={"copies"}))


class EngineSection(Section):
    """`[engine]`: who runs the units. Outside the fingerprint: another engine may finish a run.

    Attributes:
        kind: `local`, processes of this machine, or `ray`, a Ray started here or a cluster.
        workers: Units at work at a time; 0 is one for every core, on a cluster as many as it takes. 1 with `local`
            is the command's own process.
        address: Of a running Ray cluster; with "" it is that in `RAY_ADDRESS`, and without one Ray starts here.
    """

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
        whole["input"].pop("max_quarantined")  # says when to stop, not what is written: it may be raised
        whole["input"]["paths"] = [without_user_info(path) for path in self.input.paths]
        if self.tokenizer.from_ is not None:
            whole["tokenizer"]["from"] = without_user_info(self.tokenizer.from_)
        return whole

"""Turn text into words: BERT's normaliser and pre-tokeniser, as `tokenizers` implements them."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import normalizers, pre_tokenizers


@dataclass(frozen=True)
class Normalisation:
    """The settings of BERT's normaliser.

    `clean_text` is always on: it deletes control characters and turns every whitespace into a space.
    """

    lowercase: bool = True
    """Map every character to its lower case."""
    strip_accents: bool | None = None
    """Decompose characters and drop their combining marks. None: as `lowercase`."""
    handle_chinese_chars: bool = True
    """Set every CJK ideograph apart as a word of its own."""

    @property
    def strips_accents(self) -> bool:
        """Whether combining marks are dropped."""
        return self.lowercase if self.strip_accents is None else self.strip_accents

    def build_normalizer(self) -> normalizers.BertNormalizer:
        """Build the normaliser of `tokenizers` with these settings."""
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.handle_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )

    def build_pre_tokenizer(self) -> pre_tokenizers.BertPreTokenizer:
        """Build the pre-tokeniser: it splits at whitespace and isolates punctuation."""
        return pre_tokenizers.BertPreTokenizer()

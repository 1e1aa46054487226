"""Letters, and what stripping accents does to them, by `unicodedata` and `tokenizers` alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from tokenizers import normalizers

from maskmill.pipeline.wordpiece.files.normalise import Normalisation

_STRIP = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)


def _class_of(character: str, normalisation: Normalisation) -> str:
    """`L` for a letter, `m` for a mark that is dropped, `k` for what stays with the letter before it, else `x`."""
    category = unicodedata.category(character)
    if category.startswith("L"):
        return "L"
    if category.startswith("M"):
        # Marks newer than the Unicode that `tokenizers` knows stay.
        kept = _STRIP.normalize_str(f"x{character}")
        return "m" if len(kept) < 1 + len(unicodedata.normalize("NFD", character)) else "k"
    return "x" if normalisation.build_normalizer().normalize_str(character) else "k"


def _is_changed(letter: str) -> bool:
    parts = unicodedata.normalize("NFD", letter)
    return "".join(part for part in parts if unicodedata.category(part) != "Mn") != letter


def split_words(text: str, normalisation: Normalisation) -> list[str]:
    """The raw text of each word: the text between characters that end a word."""
    split = normalisation.build_pre_tokenizer()
    normalizer = normalisation.build_normalizer()
    words = [""]
    for character in text:
        parts = [part for part, _ in split.pre_tokenize_str(normalizer.normalize_str(f"x{character}x"))]
        if len(parts) == 1:
            words[-1] += character
        else:
            words += [character, ""]
    return words


def count_letters(texts: Iterable[str], normalisation: Normalisation) -> tuple[int, int, int]:
    """Letters, changed letters and words with one."""
    letters = changed = words_changed = 0
    for text in texts:
        for word in split_words(text, normalisation):
            classes = "".join(_class_of(character, normalisation) for character in word)
            letters += classes.count("L")
            found = 0
            for match in re.finditer(r"L[km]*", classes):
                found += _is_changed(word[match.start()]) or "m" in match.group()
            changed += found
            words_changed += found > 0
    return letters, changed, words_changed

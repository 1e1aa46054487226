"""A small corpus made in code, which knows of every line what has to become of it.

What is right is known here by construction: a line is written together with what it is, and nothing is parsed.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

ALPHABETS = {
    "english": "abcdefghijklmnopqrstuvwxyz",
    "french": "abcdefghilmnopqrstuvéèêàçïôœ",
    "german": "abdefghiklmnorstuvwzäöüß",
    "russian": "абвгдежзиклмнопрстуфхцчшщыьэюя",
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hindi": "अआइउकखगचजटडतदनपबमयरलवशसहािीुे",
    "chinese": "的一是不了人我在有他这中大来上国和地到以",
    "korean": "가나다라마바사아자차카타파하고노도로모보",
}
NAMES = (
    "a-0.jsonl",
    "a-1.jsonl",
    "a-2.jsonl",
    "b-0.jsonl.gz",
    "deep/b-1.jsonl.gz",
    "c-0.jsonl.zst",
    "c-1.jsonl.zst",
    "c-2.jsonl.zst",
    "d-0.txt",
    "d-1.txt",
)
"""Input files; `patterns` finds them all."""
SOURCE = "synthetic"
"""What documents without a source of their own are counted under, wherever the corpus lies."""

BOM_AND_CRLF = "a-1.jsonl"
MAX_DOCUMENT_MB = 0.15
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Entry:
    """One document of the corpus, good or bad.

    Attributes:
        path: Of its file, relative to the corpus.
        line: Where it begins, from 1.
        raw: Its bytes in the file, without the line's end.
        text: What the document says; `None` where it must be rejected.
        reason: Why it must be rejected.
        doc_id: The id that it must have.
        source: What it must be counted under.
    """

    path: str
    line: int
    raw: bytes
    text: str | None
    reason: str | None
    doc_id: str
    source: str


@dataclass
class Corpus:
    """Files and their documents, in the order of (path, line)."""

    files: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    @property
    def text_bytes(self) -> int:
        """Bytes of all good documents, duplicates included."""
        return sum(len(entry.text.encode()) for entry in self.entries if entry.text is not None)

    def reasons(self) -> dict[str, int]:
        """How many lines must be rejected, by reason."""
        return dict(Counter(entry.reason for entry in self.entries if entry.reason is not None))

    def kept(self) -> list[Entry]:
        """The good documents without exact duplicates: of equal texts the smallest (path, line)."""
        first: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.text is not None:
                first.setdefault(entry.text, entry)
        return list(first.values())

    def write(self, folder: Path) -> Path:
        """Write the files below a folder, compressed by their names."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compress(name, data))
        return folder


def patterns(folder: Path | str) -> list[str]:
    """Globs that find the corpus in a folder."""
    return [f"{folder}/{glob}" for glob in ("*.jsonl", "*.jsonl.gz", "*/*.jsonl.gz", "*.jsonl.zst", "*.txt")]


def compress(name: str, data: bytes) -> bytes:
    """Compress by a name's last suffix."""
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    if name.endswith(".zst"):
        return pa.compress(data, codec="zstd", asbytes=True)
    return data


def make_corpus(seed: int = 0, documents_per_file: int = 90) -> Corpus:
    """Make the corpus; the same seed makes the same one."""
    rng = random.Random(seed)
    languages = [_Language(rng, letters) for letters in ALPHABETS.values()]
    corpus = Corpus()
    earlier: list[str] = []
    written: dict[str, tuple[bytes, list[Entry]]] = {}
    for name in NAMES:
        texts = [_make_text(rng, languages, length) for length in _lengths(rng, documents_per_file)]
        # Exact duplicates, within the file and of files before it, short and long ones.
        texts += [texts[3], texts[0], *rng.sample(earlier, min(len(earlier), 5))]
        texts += [
            "[MASK] and [CLS] are text, [MASK] too",
            f"an email: [SEP]{name}[PAD]",
            " \t ",
            "\x00\u200b",
            "\u00ad",
        ]
        rng.shuffle(texts)
        earlier += texts
        written[name] = _write_text(name, texts, rng) if name.endswith(".txt") else _write_json(name, texts, rng)
    for name in sorted(written, key=str.encode):
        data, entries = written[name]
        corpus.files[name] = data
        corpus.entries += entries
    return corpus


class _Language:
    """Words of one alphabet that occur as Zipf has it."""

    def __init__(self, rng: random.Random, letters: str) -> None:
        self.words = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(400)]
        self.weights = list(accumulate(1 / rank for rank in range(1, len(self.words) + 1)))

    def speak(self, rng: random.Random, count: int) -> str:
        pieces = []
        for word in rng.choices(self.words, cum_weights=self.weights, k=count):
            chance = rng.random()
            if chance < 0.08:
                word = word.capitalize()
            elif chance < 0.10:
                word = str(rng.randint(0, 99_999))
            elif chance < 0.11:
                word = f"{word}-{word}/2.0"
            pieces.append(word + (rng.choice(".,;:!?)…") if rng.random() < 0.12 else ""))
        return " ".join(pieces)


def _lengths(rng: random.Random, count: int) -> Iterable[int]:
    """Words of each document: most are short, one of a file is long, some are a single word."""
    yield rng.randint(3000, 8000)
    for _ in range(count - 1):
        yield rng.choice((1, rng.randint(2, 40), rng.randint(2, 40), rng.randint(40, 200), rng.randint(100, 400)))


def _make_text(rng: random.Random, languages: list[_Language], length: int) -> str:
    main = rng.choice(languages) if rng.random() < 0.5 else languages[0]
    text = main.speak(rng, length)
    if rng.random() < 0.1:
        text += rng.choice(("\n", "\t", " \u00a0")) + rng.choice(languages).speak(rng, rng.randint(1, 5))
    return text


def _write_json(name: str, texts: list[str], rng: random.Random) -> tuple[bytes, list[Entry]]:
    lines: list[tuple[bytes, str | None, str | None, str | None, str | None]] = []
    for number, text in enumerate(texts):
        fields: dict[str, object] = {"text": text, "n": number}
        doc_id = source = None
        chance = rng.random()
        if chance < 0.3:
            fields["id"] = doc_id = f"{name}/{number}"
        elif chance < 0.5:
            value = rng.choice((number, -number, 2**70 + number, 0))
            fields["id"], doc_id = value, str(value)
        if rng.random() < 0.3:
            fields["source"] = source = rng.choice(("web", "books"))
        raw = json.dumps(fields, ensure_ascii=rng.random() < 0.5).encode()
        lines.append((raw, text, None, doc_id, source))
    for raw, reason in _bad_json_lines(name):
        lines.append((raw, None, reason, None, None))
    lines += [(b"", None, None, None, None), (b"  ", None, None, None, None)]  # blank lines are no documents
    rng.shuffle(lines)
    end = b"\r\n" if name == BOM_AND_CRLF else b"\n"
    entries = [
        Entry(name, line, raw, text, reason, f"{name}#{line}" if doc_id is None else doc_id, source or SOURCE)
        for line, (raw, text, reason, doc_id, source) in enumerate(lines, 1)
        if raw.strip()
    ]
    data = end.join(raw for raw, *_ in lines)  # the last line has no end
    return (b"\xef\xbb\xbf" if name == BOM_AND_CRLF else b"") + data, entries


def _bad_json_lines(name: str) -> list[tuple[bytes, str]]:
    """One bad line or two of every kind in each of two files, none in the others."""
    if name == "a-0.jsonl":
        return [
            (b'{"text": "no end', "broken JSON"),
            (b'{"text": "one"} {"text": "two"}', "broken JSON"),
            (b'["a list"]', "not a JSON object"),
            (b"17", "not a JSON object"),
            (b'{"title": "no text here"}', "no text field"),
            (b'{"text": 5}', "text is not a string"),
            (b'{"text": null}', "text is not a string"),
            (b'{"text": "caf\xe9"}', "invalid UTF-8"),
            (b'{"text": "half a pair: \\ud800"}', "invalid UTF-8"),
            (b'{"text": ""}', "empty text"),
            (b'{"text": "' + b"large " * 30_000 + b'"}', "document too large"),
            (b'{"id": 1.5, "text": "an id that is no id"}', "id is neither text nor an integer"),
            (b'{"source": 3, "text": "a source that is no text"}', "source is not text"),
        ]
    if name == "c-1.jsonl.zst":
        return [(b"\x00\xff\xfe", "invalid UTF-8"), (b"null", "not a JSON object"), (b"{}", "no text field")]
    return []


def _write_text(name: str, texts: list[str], rng: random.Random) -> tuple[bytes, list[Entry]]:
    """Documents that end at a blank line; some hold several lines."""
    entries: list[Entry] = []
    lines: list[bytes] = []
    documents: list[tuple[bytes, str | None, str | None]] = []
    for text in texts:
        words = text.split(" ")
        if text.strip() and rng.random() < 0.5:
            middle = len(words) // 2
            text = "\n".join(part for part in (" ".join(words[:middle]), " ".join(words[middle:])) if part.strip())
        if text.strip():
            documents.append((text.encode(), text, None))
    if name == "d-0.txt":
        documents.insert(5, (b"not \xff UTF-8", None, "invalid UTF-8"))
        documents.insert(9, (b"a large one " * 14_000, None, "document too large"))
    for raw, text, reason in documents:
        lines += [b""] * rng.randint(0 if not lines else 1, 3)
        entries.append(Entry(name, len(lines) + 1, raw, text, reason, f"{name}#{len(lines) + 1}", SOURCE))
        lines += raw.split(b"\n")
    return b"\n".join(lines) + b"\n", entries

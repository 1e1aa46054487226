"""The tokenizer that a user names, read from its file or folder as one file: a tokenizer.json or a vocab.txt."""

from __future__ import annotations

import contextlib
import os

from maskmill.pipeline.storage.paths import split_file_url
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.wordpiece.files.folder_tokens import CONFIG, FOLDER_FILES, TOKENIZER_JSON, VOCAB, Folder
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer
from maskmill.pipeline.wordpiece.files.transformers_folder import (
    Reading,
    build_bert,
    choose_reading,
    describe_ids,
    read_bert_normalisation,
    resolve_tokenizer_json,
    says_normalisation,
)
from maskmill.pipeline.wordpiece.files.vocab_file import parse_vocab
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.tokenizer.tokenizer_file import MAX_TOKENIZER_BYTES, SPECIAL_TOKENS


def read_brought_files(url: str, normalisation: Normalisation | None = None) -> dict[str, bytes]:
    """Read the tokenizer that the user names: `tokenizer.json`, `vocab.txt` or a folder with one of them.

    A file is taken as it is. A folder is read as `transformers.AutoTokenizer` reads it, and returned as one file.

    Args:
        url: Path or URL.
        normalisation: What the run file says, which decides for a `vocab.txt`; None: the folder decides.

    Returns:
        One file by its name, `tokenizer.json` or `vocab.txt`.

    Raises:
        ConfigError: There is no such file, the folder is not supported, or it normalises text differently from the
            run file.
    """
    parent, name = split_file_url(url.rstrip("/"))
    if open_store(parent).exists(name):
        return _read_file(url)
    store = open_store(url)
    files: dict[str, bytes] = {}
    for candidate in FOLDER_FILES:
        with contextlib.suppress(FileNotFoundError):
            files[candidate] = store.read_bytes(candidate, MAX_TOKENIZER_BYTES)
    folder = Folder(files, store.display_url)
    if TOKENIZER_JSON in files:
        return {TOKENIZER_JSON: resolve_tokenizer_json(folder)}
    if VOCAB in files:
        return _resolve_vocab(folder, normalisation)
    raise _find_nothing(url)


def _read_file(url: str) -> dict[str, bytes]:
    """Read a file as it is; its key is the name that files of its kind have in a folder."""
    parent, name = split_file_url(url.rstrip("/"))
    kinds = {".json": TOKENIZER_JSON, ".txt": VOCAB}
    end = os.path.splitext(name)[1]
    if end not in kinds:
        raise ConfigError(
            "unknown kind of tokenizer file",
            path=redact(url),
            expected="a name that ends in .json or .txt, as tokenizer.json and vocab.txt do",
            found=name,
            action="rename it",
        )
    with contextlib.suppress(FileNotFoundError):
        return {kinds[end]: open_store(parent).read_bytes(name, MAX_TOKENIZER_BYTES)}
    raise _find_nothing(url)


def _find_nothing(url: str) -> ConfigError:
    return ConfigError(
        "there is no tokenizer here",
        path=redact(url),
        expected="a tokenizer.json, a vocab.txt, or a folder with one of them",
        action="check tokenizer.from",
    )


def _resolve_vocab(folder: Folder, ours: Normalisation | None) -> dict[str, bytes]:
    """A folder's vocab.txt with what the files beside it add to it."""
    content = folder.files[VOCAB]
    reading = choose_reading(folder)
    if reading not in (None, Reading.BERT):
        raise folder.refuse(
            CONFIG,
            "tokenizer_class",
            folder.read(CONFIG).get("tokenizer_class"),
            f"BertTokenizer, the class that reads a {VOCAB}",
            f"bring the {TOKENIZER_JSON} that this class reads, or name the {VOCAB} itself",
        )
    bert = Normalisation()
    theirs = read_bert_normalisation(folder, bert if reading is Reading.BERT or ours is None else ours)
    if ours is not None:
        _refuse_other_normalisation(folder, theirs, ours)
    pieces = parse_vocab(content, folder.path(VOCAB))
    if not set(SPECIAL_TOKENS) <= set(pieces):
        return {VOCAB: content}  # refused by its use, which says what it lacks
    resolved = build_bert(folder, {piece: number for number, piece in enumerate(pieces)}, theirs)
    is_plain = describe_ids(resolved) == describe_ids(build_tokenizer(pieces, theirs))
    if is_plain and (ours is not None or not says_normalisation(folder)):
        return {VOCAB: content}
    return {TOKENIZER_JSON: resolved.to_str().encode()}


def _refuse_other_normalisation(folder: Folder, theirs: Normalisation, ours: Normalisation) -> None:
    differing = {
        f"tokenizer.{name}": (getattr(theirs, name), getattr(ours, name))
        for name in ("lowercase", "strips_accents", "handle_chinese_chars")
        if getattr(theirs, name) != getattr(ours, name)
    }
    if differing:
        named = {key.replace("strips_", "strip_"): values for key, values in differing.items()}
        raise ConfigError(
            "the folder and the run file normalise text differently",
            path=folder.path(CONFIG),
            expected=", ".join(f"{key} = {str(theirs).lower()}" for key, (theirs, _) in named.items()),
            found=", ".join(f"{key} = {str(ours).lower()}" for key, (_, ours) in named.items()),
            action="set these values in the run file, or name the vocab.txt itself to ignore the folder's settings",
        )

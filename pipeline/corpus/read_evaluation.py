"""List and read evaluation files, of any format of raw text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

from maskmill.pipeline.corpus.filters.evaluation_index import IndexPlace, write_index
from maskmill.pipeline.corpus.formats.table import iter_documents
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, InputDataError, StaleArtifactError
from maskmill.schemas.filters import DecontaminationFilter, FiltersSection
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import InputSection

MAX_FILES = 1000
PATHS, FORMAT = "filters.decontamination.paths", "filters.decontamination.format"


@dataclass(frozen=True)
class EvaluationFiles:
    """The evaluation files of a run, and the digest of their contents; none if decontamination is off."""

    files: tuple[InputFile, ...] = ()
    digest: str = ""


def list_evaluation(settings: FiltersSection) -> EvaluationFiles:
    """List the evaluation files and read them, to know whether they have changed.

    Raises:
        ConfigError: As for inputs, or there are too many.
        InputDataError: A file cannot be read.
    """
    if settings.decontamination is None:
        return EvaluationFiles()
    own = settings.decontamination
    try:
        files = tuple(list_inputs(own.paths, None, format_name=own.format))
    except ConfigError as error:
        error.path = PATHS if error.path == "input.paths" else error.path
        error.action = error.action and error.action.replace("input.paths", PATHS).replace("input.format", FORMAT)
        raise
    if len(files) > MAX_FILES:
        raise ConfigError(
            "there are too many evaluation files",
            path=PATHS,
            expected=f"at most {MAX_FILES}",
            found=f"{len(files)}",
            action="put texts together into fewer files",
        )
    return EvaluationFiles(files, digest_evaluation(files))


def digest_evaluation(files: Sequence[InputFile]) -> str:
    """xxh3-128 over the names and contents of the files."""
    digest = xxhash.xxh3_128()
    for file in files:
        digest.update(f"{file.path}\0{file.format}\0{file.compression}\0".encode())
        content = xxhash.xxh3_128()
        with OpenInput(file) as opened:
            while data := opened.read():
                content.update(data)
        digest.update(content.digest())
    return digest.hexdigest()


def index_evaluation(
    output: Store, files: Sequence[InputFile], digest: str, settings: DecontaminationFilter
) -> IndexPlace:
    """Write the index of the evaluation text.

    Raises:
        InputDataError: A file cannot be read, or a text in it.
        ConfigError: There is too much text, or none that is long enough.
        StaleArtifactError: A file has changed since the run was opened.
    """
    paths = [file.path for file in files]
    place = write_index(output, _iter_texts(files, settings), paths, settings.ngram, settings.min_words)
    if digest_evaluation(files) != digest:
        raise StaleArtifactError(
            "evaluation files have changed while they were read", path=PATHS, action="run the same command again"
        )
    return place


def _iter_texts(files: Sequence[InputFile], settings: DecontaminationFilter) -> Iterator[tuple[int, str]]:
    reading = InputSection(
        paths=settings.paths,
        text_field=settings.text_field,
        text_document=settings.text_document,
        format=settings.format,
    )
    for number, file in enumerate(files):
        with OpenInput(file) as opened:
            for block in iter_documents(file, opened, reading):
                for reject in block.rejects:
                    raise InputDataError(
                        "an evaluation text cannot be read",
                        path=redact(file.url),
                        expected="every text of an evaluation file to be readable",
                        found=f"line {reject.line}: {reject.reason}",
                        action="check filters.decontamination.text_field and format, or fix the file",
                    )
                for text in block.text:
                    yield number, text.decode()

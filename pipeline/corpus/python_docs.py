"""A corpus that every machine with Python already has: the documentation of its installed packages.

A demonstration should need no download. The docstrings of the standard library and of the installed packages,
with the long descriptions from package metadata, are real technical English with code in it, and come to more
than 14 MB wherever torch and transformers are installed. Sources are parsed, never imported, so no package's
code runs. What a machine has installed decides the text: two machines with the same packages get the same
bytes, in the same order.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.storage.regular_files import open_regular
from maskmill.schemas.errors import ConfigError

# Folders with no documentation of the package itself: tests and bundled copies of other packages.
SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_vendor",
        "dist-packages",
        "idlelib",
        "lib2to3",
        "node_modules",
        "site-packages",
        "test",
        "testing",
        "tests",
        "thirdparty_files",
        "vendor",
    }
)
MAX_DOC_CHARS = 16_000

_DOCSTRING = re.compile(rb'"""(.*?)"""', re.DOTALL)
_MAX_SOURCE_BYTES = 1_000_000  # larger files are generated tables; one took ast.parse 2 s


@dataclass(frozen=True)
class PythonDoc:
    """One document of the corpus.

    Attributes:
        id: Where it comes from, such as `stdlib/json/decoder.py::JSONDecoder`; unique in the corpus.
        text: The docstrings, each below its signature.
        source: `stdlib`, or the top-level package or distribution.
    """

    id: str
    text: str
    source: str

    def to_json_line(self) -> bytes:
        """Give the document as one line of JSONL in UTF-8, newline included."""
        record = {"id": self.id, "text": self.text, "source": self.source}
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def iter_python_docs(
    *,
    target_bytes: int = 14_000_000,
    min_chars: int = 400,
    package_bytes: int = 2_500_000,
    roots: Iterable[tuple[str, str]] | None = None,
) -> Iterator[PythonDoc]:
    """Yield the documentation of the installed Python packages, one document a module or class.

    First the standard library, then package descriptions, then the packages by name. Parsing is the cost
    (9 MB/s), so a file is parsed only if at least a tenth of it lies between triple quotes, which a regular
    expression finds at 200 MB/s: a third of the sources holds four fifths of the docstrings.

    Args:
        target_bytes: Stop once this many bytes of JSONL have been yielded.
        min_chars: A shorter document is left out; most of those are one-line remarks.
        package_bytes: The most that one package gives, so that none fills the corpus alone.
        roots: `(folder, source)` pairs instead of this installation, in which case no package metadata is
            read; an empty source takes each top-level package's own name.
    """
    given = None if roots is None else list(roots)
    places = _installed_roots() if given is None else given
    num_bytes = 0
    used: dict[str, int] = {}
    for position, (folder, source) in enumerate(places):
        batches = [_iter_source_docs(folder, source, used, package_bytes)]
        if given is None and position == 1:
            batches.insert(0, _iter_descriptions())
        for batch in batches:
            for doc in batch:
                if len(doc.text) < min_chars:
                    continue
                size = len(doc.to_json_line())
                used[doc.source] = used.get(doc.source, 0) + size
                num_bytes += size
                yield doc
                if num_bytes >= target_bytes:
                    return


def extract_docs(source_code: bytes, *, module: str, doc_id: str, source: str) -> list[PythonDoc]:
    """Give the documents of one module: its own, then one for each class, in source order.

    A document that would be longer than `MAX_DOC_CHARS` goes on in parts, `#2`, `#3` and so on, each from the
    start of a function's documentation: the largest class had 390,000 characters, and a few such documents would
    make files of unequal size and a held-out part that is no sample of the whole.

    Args:
        source_code: The module's bytes, in whatever encoding it declares.
        module: Dotted name for headings, such as `json.decoder`.
        doc_id: Id of the module's own document; a class adds `::Name`.
        source: Kept in every document.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: `ast.parse` could not read the source.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code
        tree = ast.parse(source_code)
    docs: list[PythonDoc] = []
    seen: dict[str, int] = {}

    def visit(node: ast.Module | ast.ClassDef, qualified: str) -> None:
        heading = module if isinstance(node, ast.Module) else _describe_class(node, qualified)
        key = f"{doc_id}::{qualified}" if qualified else doc_id
        entries = [own] if (own := ast.get_docstring(node)) else []
        classes = []
        for child in _iter_definitions(node.body):
            if isinstance(child, ast.ClassDef):
                classes.append(child)
            elif text := ast.get_docstring(child):
                entries.append(f"{_describe_function(child)}\n\n{text}")
        for part in _split_entries(entries):
            # A class defined twice (in both arms of an `if`) keeps both, numbered on.
            seen[key] = seen.get(key, 0) + 1
            part_id = key if seen[key] == 1 else f"{key}#{seen[key]}"
            docs.append(PythonDoc(part_id, "\n\n".join([heading, *part]), source))
        for child in classes:
            visit(child, f"{qualified}.{child.name}" if qualified else child.name)

    visit(tree, "")
    return docs


def _installed_roots() -> list[tuple[str, str]]:
    paths = sysconfig.get_paths()
    folders = [paths["stdlib"], paths["purelib"], paths["platlib"]]
    unique = list(dict.fromkeys(os.path.realpath(folder) for folder in folders))
    return [(folder, "stdlib" if number == 0 else "") for number, folder in enumerate(unique)]


def _iter_descriptions() -> Iterator[PythonDoc]:
    """Yield the long description of every distribution, by name."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        try:
            metadata = distribution.metadata
            name, text = metadata["Name"], metadata.get_payload()  # type: ignore[attr-defined]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a broken installation is not ours to fix
        if isinstance(name, str) and isinstance(text, str) and text.strip():
            found.setdefault(name.lower(), text.strip())  # the first on the path is the one in force
    for name in sorted(found):
        yield PythonDoc(f"{name}/METADATA", found[name], name)


def _iter_source_docs(root: str, source: str, used: dict[str, int], package_bytes: int) -> Iterator[PythonDoc]:
    for relative in _iter_source_files(root):
        top = source or relative.split("/")[0].removesuffix(".py")
        if used.get(top, 0) >= package_bytes:
            continue
        try:
            with open_regular(os.path.join(root, relative)) as file:
                code = file.read(_MAX_SOURCE_BYTES + 1)
        except (OSError, ConfigError):
            continue
        if len(code) > _MAX_SOURCE_BYTES or not _is_dense(code):
            continue
        module = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        doc_id = f"{source}/{relative}" if source else relative
        try:
            yield from extract_docs(code, module=module, doc_id=doc_id, source=top)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # templates and sources for another Python are no documentation of this one


def _iter_source_files(root: str) -> Iterator[str]:
    """Yield `.py` files below `root` as relative paths with forward slashes, in a total order."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("test_"):
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def _is_dense(code: bytes) -> bool:
    return 10 * sum(map(len, _DOCSTRING.findall(code))) >= len(code)


def _iter_definitions(
    body: list[ast.stmt],
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield classes and functions of a body, also those under `if` and `try`, in source order."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _iter_definitions(node.body)
            yield from _iter_definitions(node.orelse)


def _split_entries(entries: list[str]) -> Iterator[list[str]]:
    """Group entries, in order, into parts of at most `MAX_DOC_CHARS`; a longer entry is a part of its own."""
    part: list[str] = []
    num_chars = 0
    for entry in entries:
        if part and num_chars + len(entry) > MAX_DOC_CHARS:
            yield part
            part, num_chars = [], 0
        part.append(entry)
        num_chars += len(entry)
    if part:
        yield part


def _describe_class(node: ast.ClassDef, qualified: str) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return f"class {qualified}({bases})" if bases else f"class {qualified}"


def _describe_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"

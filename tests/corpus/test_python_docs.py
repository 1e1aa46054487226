from __future__ import annotations

import json
import os

import pytest

from maskmill.pipeline.corpus import python_docs
from maskmill.pipeline.corpus.python_docs import extract_docs, iter_python_docs
from maskmill.pipeline.corpus.write_python_docs import MARKER_NAME, write_python_docs

LONG = "The words of a docstring that is long enough to be kept. " * 10

MODULE = '''"""About the module.

    More of it.
"""

import nothing_that_is_installed

raise SystemExit("a corpus must not run what it reads")


class Outer(Base, metaclass=Meta):
    """About Outer."""

    def run(self, speed: int = 3, *, loud=False) -> str:
        """Runs."""
        def inner():
            """Not documentation of the class."""

    def silent(self): ...

    class Inner:
        """About Inner."""


if True:
    async def fetch(url, /):
        """Fetches."""
else:
    class Outer:
        """The other Outer."""


class Bare:
    pass
'''


def test_a_module_and_each_class_is_a_document_with_signatures_for_headings():
    docs = extract_docs(MODULE.encode(), module="pkg.mod", doc_id="stdlib/pkg/mod.py", source="stdlib")
    assert {doc.id: doc.text for doc in docs} == {
        "stdlib/pkg/mod.py": "pkg.mod\n\nAbout the module.\n\nMore of it.\n\nfetch(url, /)\n\nFetches.",
        "stdlib/pkg/mod.py::Outer": (
            "class Outer(Base)\n\nAbout Outer.\n\nrun(self, speed: int=3, *, loud=False) -> str\n\nRuns."
        ),
        "stdlib/pkg/mod.py::Outer.Inner": "class Outer.Inner\n\nAbout Inner.",
        "stdlib/pkg/mod.py::Outer#2": "class Outer\n\nThe other Outer.",
    }
    assert {doc.source for doc in docs} == {"stdlib"}


def test_a_long_document_goes_on_in_parts_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(python_docs, "MAX_DOC_CHARS", 60)
    methods = "".join(f'    def m{number}(self):\n        """{"x" * 10 * number}"""\n' for number in range(1, 9))
    code = f'class C:\n    """Top."""\n{methods}'
    docs = extract_docs(code.encode(), module="m", doc_id="m.py", source="m")
    assert [doc.id for doc in docs] == ["m.py::C", *(f"m.py::C#{part}" for part in range(2, len(docs) + 1))]
    assert len(docs) > 3
    bodies = [doc.text.removeprefix("class C\n\n") for doc in docs]
    expected = ["Top.", *(f"m{number}(self)\n\n{'x' * 10 * number}" for number in range(1, 9))]
    assert "\n\n".join(bodies) == "\n\n".join(expected)
    assert all(len(body) <= 60 + 2 * 3 or body.count("(self)") == 1 for body in bodies)


@pytest.fixture
def packages(tmp_path):
    """A folder of packages: `(root, names of what must be read)`."""
    files = {
        "beta/__init__.py": f'"""{LONG}beta"""\n',
        "alpha/z.py": f'"""{LONG}z"""\n',
        "alpha/a.py": f'"""{LONG}a"""\n',
        "single.py": f'"""{LONG}single é 漢 \\ud800"""\n',
        "alpha/short.py": '"""Too short."""\n',
        "alpha/tests/t.py": f'"""{LONG}"""\n',
        "alpha/test_x.py": f'"""{LONG}"""\n',
        "alpha/__pycache__/c.py": f'"""{LONG}"""\n',
        "alpha/broken.py": f'"""{LONG}"""\ndef (:\n',
        "alpha/nul.py": f'"""{LONG}"""\n\0',
        "alpha/sparse.py": f'"""{LONG}"""\n' + "x = 1\n" * 2000,
        "alpha/huge.py": f'"""{LONG * 2000}"""\n',
        "alpha/deep.py": f'"""{LONG}"""\nx = ' + "(" * 5000 + ")" * 5000,
        "alpha/data.txt": f'"""{LONG}"""',
    }
    for name, text in files.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "site" / "alpha" / "latin.py").write_bytes(
        f'# coding: latin-1\n"""{LONG}caf\xe9"""\n'.encode("latin-1")
    )
    (tmp_path / "site" / "alpha" / "gone.py").symlink_to("nowhere.py")
    return str(tmp_path / "site")


READ = ["single.py", "alpha/a.py", "alpha/latin.py", "alpha/z.py", "beta/__init__.py"]


def test_files_are_read_in_order_and_odd_ones_are_skipped(packages):
    docs = list(iter_python_docs(roots=[(packages, "")]))
    assert [doc.id for doc in docs] == READ
    assert [doc.source for doc in docs] == ["single", "alpha", "alpha", "alpha", "beta"]
    assert docs[2].text.endswith("café")
    assert docs[4].text.startswith("beta\n\n")


def test_a_source_names_the_ids_of_its_root(packages):
    docs = list(iter_python_docs(roots=[(packages, "stdlib")]))
    assert [doc.id for doc in docs] == [f"stdlib/{name}" for name in READ]
    assert {doc.source for doc in docs} == {"stdlib"}


def test_no_package_gives_more_than_its_share(packages):
    docs = list(iter_python_docs(roots=[(packages, "")], package_bytes=len(LONG)))
    assert [doc.id for doc in docs] == ["single.py", "alpha/a.py", "beta/__init__.py"]


def test_reading_stops_at_the_budget(packages):
    sizes = [len(doc.to_json_line()) for doc in iter_python_docs(roots=[(packages, "")])]
    for count in range(1, len(sizes)):
        docs = list(iter_python_docs(roots=[(packages, "")], target_bytes=sum(sizes[:count])))
        assert len(docs) == count


def read_lines(corpus):
    lines = []
    for path in corpus.paths:
        with open(path, "rb") as file:
            lines.append([json.loads(line) for line in file])
    return lines


def test_files_hold_every_document_once_in_valid_utf8(packages, tmp_path):
    folder = str(tmp_path / "out")
    corpus = write_python_docs(folder, num_files=2, roots=[(packages, "")])
    records = [record for lines in read_lines(corpus) for record in lines]
    expected = list(iter_python_docs(roots=[(packages, "")]))
    assert sorted(record["id"] for record in records) == sorted(READ)
    assert corpus.num_documents == len(expected)
    assert corpus.num_bytes == sum(map(os.path.getsize, corpus.paths))
    assert {tuple(record) for record in records} == {("id", "text", "source")}
    assert sorted(os.listdir(folder)) == sorted([*map(os.path.basename, corpus.paths), MARKER_NAME])


def test_files_are_of_equal_size_and_the_same_every_time(tmp_path):
    root = tmp_path / "site"
    root.mkdir()
    for number in range(40):
        (root / f"m{number:02d}.py").write_text(f'"""{LONG * (1 + number % 5)}"""\n')
    first = write_python_docs(str(tmp_path / "a"), num_files=3, roots=[(str(root), "")])
    second = write_python_docs(str(tmp_path / "b"), num_files=3, roots=[(str(root), "")])
    assert read_lines(first) == read_lines(second)
    sizes = [os.path.getsize(path) for path in first.paths]
    assert max(sizes) - min(sizes) <= 6 * len(LONG)  # no more than one document


@pytest.mark.parametrize("damage", ["none", "truncate", "delete", "marker", "more_files", "more_bytes"])
def test_a_complete_corpus_is_left_alone_and_any_other_written_again(packages, tmp_path, damage):
    folder = str(tmp_path / "out")
    wanted = {"num_files": 2, "target_bytes": 10_000}
    corpus = write_python_docs(folder, **wanted, roots=[(packages, "")])
    assert not corpus.reused
    whole = read_lines(corpus)
    match damage:
        case "truncate":
            os.truncate(corpus.paths[1], 10)
        case "delete":
            os.unlink(corpus.paths[0])
        case "marker":
            (tmp_path / "out" / MARKER_NAME).write_text('{"num_files": 2')
        case "more_files":
            wanted["num_files"] = 3
        case "more_bytes":
            wanted["target_bytes"] = 20_000
    again = write_python_docs(folder, **wanted, roots=[(packages, "")])
    assert again.reused == (damage == "none")
    assert again.num_documents == corpus.num_documents
    if damage != "more_files":
        assert read_lines(again) == whole
        assert again.paths == corpus.paths


def test_a_killed_writer_leaves_no_half_file_under_a_final_name(packages, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    replace = os.replace

    def replace_once(source, target):
        if list(folder.glob("*.jsonl")):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(KeyboardInterrupt):
        write_python_docs(str(folder), num_files=2, roots=[(packages, "")])
    assert not (folder / MARKER_NAME).exists()
    monkeypatch.undo()
    assert not write_python_docs(str(folder), num_files=2, roots=[(packages, "")]).reused


def test_this_machine_has_documentation():
    docs = list(iter_python_docs(target_bytes=300_000))
    ids = [doc.id for doc in docs]
    assert len(set(ids)) == len(ids)
    assert {doc.source for doc in docs} == {"stdlib"}
    assert all(doc.id.startswith("stdlib/") for doc in docs)
    assert sum(len(doc.to_json_line()) for doc in docs) >= 300_000

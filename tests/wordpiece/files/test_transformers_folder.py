"""A tokenizer's folder gives the ids that `transformers.AutoTokenizer` gives for it, or is refused by name."""

from __future__ import annotations

import itertools
import json
import string
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, load_tokenizer, tokenizer_files
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS

transformers = pytest.importorskip("transformers")

LETTERS = [*string.ascii_letters, "\u00e9"]
PIECES = [
    *SPECIAL_TOKENS,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "the",
    "The",
    "\u4e2d",
    "\u6587",
    "##\u6587",
]
TEXTS = [
    "The caf\u00e9s of the world \u4e2d\u6587 the",
    "x <x>  The<x> <y>y <Y> dog  dogs the dog Dog",
    "[MASK] the [mask] [CLS]a[SEP] [PAD] [UNK] [ MASK ]",
    "a" * 101 + " abcdefghij",
    " \t<x>\n E\u0301 e\u0301",
]
VOCAB = "".join(f"{piece}\n" for piece in PIECES).encode()


def describe_cased() -> dict[str, Any]:
    tokenizer = build_tokenizer(PIECES, Normalisation(lowercase=False))
    return dict(json.loads(tokenizer.to_str()))


def describe_with_added() -> dict[str, Any]:
    tokenizer = build_tokenizer(PIECES, Normalisation())
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True), AddedToken("dog", single_word=True)])
    tokenizer.add_special_tokens([AddedToken("<y>", rstrip=True)])
    return dict(json.loads(tokenizer.to_str()))


def describe_short_words() -> dict[str, Any]:
    description = describe_cased()
    description["model"]["max_input_chars_per_word"] = 5
    description["normalizer"]["handle_chinese_chars"] = False
    description["truncation"] = {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
    return description


def describe_unmarked() -> dict[str, Any]:
    return describe_cased() | {"added_tokens": []}


TOKENIZERS = {
    "cased": describe_cased(),
    "added": describe_with_added(),
    "short": describe_short_words(),
    "unmarked": describe_unmarked(),
}


def write_folder(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def bring(folder: Path) -> Tokenizer:
    return load_tokenizer(read_brought_files(str(folder)), Normalisation())


def compare(ours: Tokenizer, theirs: Any) -> None:
    """Ids are the same where special tokens in text are special, and where they are text."""
    special = {token.content for token in theirs.added_tokens_decoder.values() if token.special}
    texts = TEXTS if special >= set(SPECIAL_TOKENS) else [text for text in TEXTS if "[" not in text]
    backend = theirs.backend_tokenizer
    backend.no_truncation()
    assert ours.get_vocab() == backend.get_vocab()
    for is_text in (False, True):
        ours.encode_special_tokens = backend.encode_special_tokens = is_text
        for text in texts:
            expected = backend.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, add_special_tokens=False).ids == expected


def load_by_transformers(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


flags = st.fixed_dictionaries(
    {"content": st.sampled_from(["<x>", "<y>", "dog", "The", "[MASK]"])},
    optional={name: st.booleans() for name in ("lstrip", "rstrip", "single_word", "normalized", "special")},
)
names = st.sampled_from(
    [
        ("mask_token", "[MASK]"),
        ("mask_token", {"content": "[MASK]", "lstrip": True, "__type": "AddedToken"}),
        ("mask_token", None),
        ("pad_token", "<pad>"),
        ("cls_token", "[CLS]"),
        ("bos_token", "<x>"),
        ("eos_token", "[SEP]"),
        ("eos_token", None),
        ("image_token", "<y>"),
        ("foo_token", "[MASK]"),
        ("additional_special_tokens", ["<x>", "<y>"]),
        ("additional_special_tokens", []),
        ("extra_special_tokens", ["<y>", "dog"]),
        ("extra_special_tokens", {}),
        ("extra_special_tokens", []),
        ("extra_special_tokens", None),
        ("extra_special_tokens", {"x_token": "<x>"}),
        ("split_special_tokens", True),
        ("split_special_tokens", False),
        ("trust_remote_code", True),
        ("clean_text", False),
        ("never_split", ["The"]),
        ("add_prefix_space", True),
    ]
)
configs = st.builds(
    lambda chosen, extra: chosen | dict(extra),
    st.fixed_dictionaries(
        {},
        optional={
            "tokenizer_class": st.sampled_from(
                [
                    *("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "ElectraTokenizerFast"),
                    *("PreTrainedTokenizerFast", "TokenizersBackend", "MPNetTokenizer", "ConvBertTokenizer", "Own"),
                ]
            ),
            "do_lower_case": st.sampled_from([True, False, None]),
            "strip_accents": st.sampled_from([True, False, None]),
            "tokenize_chinese_chars": st.booleans(),
            "added_tokens_decoder": st.dictionaries(
                st.sampled_from(["0", "4", "113", "114", "200"]), flags, max_size=3
            ),
        },
    ),
    st.lists(names, max_size=2),
)
special_maps = st.builds(
    dict,
    st.lists(
        st.one_of(names, st.tuples(st.sampled_from(["mask_token", "bos_token"]), flags)).filter(
            lambda pair: not (isinstance(pair[1], dict) and "__type" in pair[1])
        ),
        max_size=2,
    ),
)
added = st.dictionaries(st.sampled_from(["<x>", "<y>", "dog", "[MASK]"]), st.integers(110, 120), max_size=2)
model_types = st.sampled_from(["bert", "distilbert", "nomic_bert", "modernbert", "roberta", "neobert"])
sources = st.sampled_from([("tokenizer.json", TOKENIZERS[name]) for name in TOKENIZERS] + [("vocab.txt", VOCAB)])
folders = st.builds(
    lambda source, others: dict([source]) | others,
    sources,
    st.fixed_dictionaries(
        {"tokenizer_config.json": configs},
        optional={
            "special_tokens_map.json": special_maps,
            "added_tokens.json": added,
            "config.json": st.fixed_dictionaries({}, optional={"model_type": model_types}),
        },
    ),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=folders)
def test_a_folder_is_what_transformers_makes_of_it_or_is_refused(files: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, files)
        try:
            ours = bring(folder)
        except ConfigError as error:
            event(f"refused: {error.what}")
            return
        config, model = files["tokenizer_config.json"], files.get("config.json", {})
        if "vocab.txt" in files and not config.get("tokenizer_class") and not model.get("model_type"):
            return  # no class reads it
        compare(ours, load_by_transformers(folder))
        event("compared")


def is_readable(source: str, class_name: str | None, is_bert_model: bool) -> bool:
    """Whether a class of `transformers` reads the folder: a vocab.txt needs one that says what else belongs to it."""
    return source != "vocab" or class_name == "BertTokenizer" or (class_name is None and is_bert_model)


@pytest.mark.parametrize(
    ("source", "class_name", "is_bert_model"),
    [
        case
        for case in itertools.product(
            [*TOKENIZERS, "vocab"], ["BertTokenizer", "PreTrainedTokenizerFast", None], [True, False]
        )
        if is_readable(*case)
    ],
)
@pytest.mark.parametrize("lowercase", [True, False, None])
def test_common_folders_are_read(
    source: str, class_name: str | None, lowercase: bool | None, is_bert_model: bool, tmp_path: Path
) -> None:
    config = {"tokenizer_class": class_name, "do_lower_case": lowercase, "model_max_length": 512, "cls_token": "[CLS]"}
    files: dict[str, Any] = {"vocab.txt": VOCAB} if source == "vocab" else {"tokenizer.json": TOKENIZERS[source]}
    files["tokenizer_config.json"] = {key: value for key, value in config.items() if value is not None}
    if is_bert_model:
        files["config.json"] = {"model_type": "bert"}
    write_folder(tmp_path, files)
    compare(bring(tmp_path), load_by_transformers(tmp_path))


def test_a_config_overrules_the_tokenizer_json_beside_it(tmp_path: Path) -> None:
    pieces = [*SPECIAL_TOKENS, "the", "The"]
    files = tokenizer_files(build_tokenizer(pieces, Normalisation()))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    write_folder(tmp_path, {"tokenizer.json": files["tokenizer.json"], "tokenizer_config.json": config})
    assert bring(tmp_path).encode("The", add_special_tokens=False).ids == [6]
    (tmp_path / "tokenizer_config.json").unlink()
    assert bring(tmp_path).encode("The", add_special_tokens=False).ids == [5]


def test_a_folder_that_adds_nothing_to_its_tokenizer_json_is_that_file(tmp_path: Path) -> None:
    files = tokenizer_files(build_tokenizer(PIECES, Normalisation()))
    write_folder(tmp_path, files)
    assert read_brought_files(str(tmp_path)) == {"tokenizer.json": files["tokenizer.json"]}
    write_folder(tmp_path, {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}})
    assert read_brought_files(str(tmp_path)) == {"tokenizer.json": files["tokenizer.json"]}


@pytest.mark.parametrize(
    ("name", "settings_", "words"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "MPNetTokenizer"}, 'tokenizer_class: .*found "MPNetTokenizer"'),
        ("tokenizer_config.json", {"tokenizer_class": 5}, "tokenizer_class: .*found 5"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["a.B", None]}}, "auto_map"),
        ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": "no"}, 'do_lower_case: .*"no"'),
        ("tokenizer_config.json", {"pad_token": "<pad>"}, r'pad_token: .*expected \[PAD\]; found "<pad>"'),
        ("tokenizer_config.json", {"mask_token": None}, "mask_token: .*found null"),
        ("tokenizer_config.json", {"mask_token": 5}, "mask_token: .*found 5"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "y"}}}, "added_tokens_decoder"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"5": "y"}}, "added_tokens_decoder"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "added_tokens_decoder"),
        ("tokenizer_config.json", {"extra_special_tokens": {"x_token": "y"}}, "extra_special_tokens"),
        ("tokenizer_config.json", {"extra_special_tokens": [5]}, "extra_special_tokens"),
        ("tokenizer_config.json", {"image_token": "<image>"}, "image_token"),
        ("tokenizer_config.json", {"split_special_tokens": True}, "split_special_tokens: .*found true"),
        ("tokenizer_config.json", {"trust_remote_code": True}, "trust_remote_code: .*found true"),
        ("tokenizer_config.json", {"gguf_file": "x.gguf"}, 'gguf_file: .*found "x.gguf"'),
        ("tokenizer_config.json", {"tokenizer_class": ["x"]}, r'tokenizer_class: .*found \["x"\]'),
        ("tokenizer_config.json", {"tokenizer_class": {}}, "tokenizer_class: .*found {}"),
        ("tokenizer_config.json", {"extra_special_tokens": 0}, "extra_special_tokens: .*found 0"),
        ("tokenizer_config.json", {"extra_special_tokens": ["\ud800"]}, "not the settings of a tokenizer.*surrogates"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: {"content": "y"}}}, "added_tokens_decoder"),
        ("tokenizer_config.json", b"[" * 3000, "not the settings of a tokenizer"),
        ("tokenizer_config.json", [], "not the settings of a tokenizer.*found list"),
        ("special_tokens_map.json", {"unk_token": "<unk>"}, r"unk_token: .*expected \[UNK\]"),
        ("special_tokens_map.json", {"trust_remote_code": True}, "trust_remote_code: .*found true"),
        ("special_tokens_map.json", {"do_lower_case": True}, "do_lower_case: .*found true"),
        ("special_tokens_map.json", b"{", "not the settings of a tokenizer"),
        ("special_tokens_map.json", b"\xff", "not the settings of a tokenizer"),
        ("added_tokens.json", {"<x>": True}, "<x>: .*found true"),
        ("added_tokens.json", {"<x>": "7"}, '<x>: .*found "7"'),
        ("config.json", {"model_type": "roberta"}, 'model_type: .*found "roberta".*"tokenizer_class"'),
        ("config.json", {"model_type": 5}, "model_type: .*found 5"),
    ],
)
def test_what_cannot_be_told_is_refused_by_file_key_and_value(
    name: str, settings_: Any, words: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, {"tokenizer.json": TOKENIZERS["cased"], name: settings_})
    with pytest.raises(ConfigError, match=f"{tmp_path}/{name}.*{words}"):
        read_brought_files(str(tmp_path))


@pytest.mark.parametrize("key", ["split_special_tokens", "trust_remote_code", "gguf_file", "auto_map"])
@pytest.mark.parametrize("value", [False, None])
def test_a_key_that_is_refused_may_be_there_where_it_says_nothing(key: str, value: object, tmp_path: Path) -> None:
    config = {"tokenizer_class": "BertTokenizer", key: value}
    write_folder(tmp_path, {"tokenizer.json": TOKENIZERS["cased"], "tokenizer_config.json": config})
    ours = bring(tmp_path)
    write_folder(tmp_path, {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}})
    compare(ours, load_by_transformers(tmp_path))


ABSENT = "absent"
LISTS = [ABSENT, None, {}, [], ["<x>"], [{"content": "<x>", "lstrip": True, "__type": "AddedToken"}]]
MAP_LISTS = [ABSENT, None, {}, [], ["<y>"], ["<x>", {"content": "<y>", "lstrip": True}]]
OLD_MAP_LISTS = [ABSENT, None, [], ["<x>"]]


@pytest.mark.parametrize("extra", LISTS, ids=str)
@pytest.mark.parametrize("old_extra", LISTS, ids=str)
def test_extra_special_tokens_of_both_files_are_those_of_transformers(
    extra: object, old_extra: object, tmp_path: Path
) -> None:
    """An empty object in tokenizer_config.json leaves those of special_tokens_map.json, an empty list does not."""

    def settings_of(**values: object) -> dict[str, object]:
        return {key: value for key, value in values.items() if value is not ABSENT}

    named = {"extra_special_tokens": extra, "additional_special_tokens": old_extra}
    config = settings_of(tokenizer_class="BertTokenizer", **named)
    for number, (listed, old_listed) in enumerate(itertools.product(MAP_LISTS, OLD_MAP_LISTS)):
        special_map = settings_of(extra_special_tokens=listed, additional_special_tokens=old_listed)
        folder = tmp_path / str(number)
        folder.mkdir()
        write_folder(
            folder,
            {
                "tokenizer.json": TOKENIZERS["cased"],
                "tokenizer_config.json": config,
                "special_tokens_map.json": special_map,
            },
        )
        compare(bring(folder), load_by_transformers(folder))


def test_extra_tokens_of_the_special_tokens_map_are_added(tmp_path: Path) -> None:
    """Checked without the oracle: the ids follow the vocabulary."""
    config = {"tokenizer_class": "BertTokenizer", "extra_special_tokens": {}}
    for key in ("extra_special_tokens", "additional_special_tokens"):
        files = {"tokenizer_config.json": config, "special_tokens_map.json": {key: ["<x>", "<y>"]}}
        write_folder(tmp_path, {"tokenizer.json": TOKENIZERS["cased"]} | files)
        assert bring(tmp_path).encode("<y><x>", add_special_tokens=False).ids == [len(PIECES) + 1, len(PIECES)]


def test_a_class_that_another_table_overrules_is_refused_where_it_matters(tmp_path: Path) -> None:
    """`AutoTokenizer` reads a ModernBERT folder by its tokenizer.json, whatever class the config names."""
    files = {"config.json": {"model_type": "modernbert"}, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}}
    uncased = json.loads(build_tokenizer(PIECES, Normalisation()).to_str())
    write_folder(tmp_path, files | {"tokenizer.json": uncased})
    compare(bring(tmp_path), load_by_transformers(tmp_path))
    write_folder(tmp_path, {"tokenizer.json": TOKENIZERS["cased"]})
    with pytest.raises(ConfigError, match=r'config.json, model_type: .*found "modernbert"'):
        read_brought_files(str(tmp_path))


@pytest.mark.parametrize("name", ["bert.json", "vocab.txt", "v1.txt"])
@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_may_have_the_name_of_a_file(name: str, end: str, tmp_path: Path) -> None:
    plain, named = tmp_path / "plain", tmp_path / name
    for folder in (plain, named):
        folder.mkdir()
        write_folder(folder, {"tokenizer.json": TOKENIZERS["cased"]})
    assert read_brought_files(f"{named}{end}") == read_brought_files(str(plain))
    (named / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=f"{named}{end}: there is no tokenizer here.*or a folder with one of them"):
        read_brought_files(f"{named}{end}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/tokenizer.json: there is no tokenizer here"):
        read_brought_files(str(tmp_path / "tokenizer.json"))


def test_a_vocab_file_alone_is_read_with_the_tokens_added_beside_it(tmp_path: Path) -> None:
    write_folder(tmp_path, {"vocab.txt": VOCAB, "added_tokens.json": {"<x>": len(PIECES)}})
    files = read_brought_files(str(tmp_path), Normalisation())
    assert load_tokenizer(files, Normalisation()).encode("<x>", add_special_tokens=False).ids == [len(PIECES)]


def test_a_vocab_file_of_a_general_class_is_refused(tmp_path: Path) -> None:
    write_folder(
        tmp_path, {"vocab.txt": VOCAB, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}
    )
    with pytest.raises(ConfigError, match=r"tokenizer_config.json, tokenizer_class: .*expected BertTokenizer"):
        read_brought_files(str(tmp_path), Normalisation())


def test_a_folder_of_an_uncased_class_is_not_read_as_cased_without_a_word(tmp_path: Path) -> None:
    write_folder(tmp_path, {"vocab.txt": VOCAB, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}})
    with pytest.raises(ConfigError, match=r"normalise text differently; expected tokenizer.lowercase = true"):
        read_brought_files(str(tmp_path), Normalisation(lowercase=False))


@pytest.mark.parametrize(
    "name", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"]
)
@pytest.mark.parametrize("content", [b"[" * 1_000_000, b"{}," * 1_000_000, b'{"a":' * 100_000, b"9" * 100_000])
def test_settings_that_would_take_all_memory_are_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    write_folder(tmp_path, {"tokenizer.json": describe_cased()})
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        bring(tmp_path)
    assert caught.value.path == str(tmp_path / name)


def test_a_file_larger_than_any_tokenizer_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(1 << 40)  # no bytes on the disk
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(ConfigError, match=r"tokenizer\.json: the file is too large"):
            read_brought_files(str(place))

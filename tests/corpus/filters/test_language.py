"""The languages found are those of `py3langid`, on every machine; only documents of wanted ones stay."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from maskmill.pipeline.corpus.filters import language_model
from maskmill.pipeline.corpus.filters.check_filters import check_filters
from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.language_model import LOOKED_AT, load_language_model
from maskmill.pipeline.corpus.filters.libraries import require_libraries
from maskmill.pipeline.corpus.filters.table import filter_text
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.filters import FiltersSection
from maskmill.schemas.run_file import RunFile

LIBRARY = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
SENTENCES = {
    "en": "The committee has agreed that the report should be published before the end of the year.",
    "de": "Der Ausschuss hat beschlossen, dass der Bericht noch vor dem Ende des Jahres veröffentlicht wird.",
    "fr": "Le comité a décidé que le rapport devait être publié avant la fin de l'année.",
    "ru": "Комитет решил, что доклад должен быть опубликован до конца года.",
    "ja": "委員会は年末までに報告書を公表することを決定した。",
    "sr": "Одбор је одлучио да извештај треба објавити пре краја године.",  # noqa: RUF001  # Serbian
}
CLOSE = 1e-4
"""Probabilities nearer to each other than this may be in another order with the library's 32-bit floats."""

pieces = st.one_of(
    st.sampled_from(list(SENTENCES.values())),
    st.text(max_size=40),
    st.text(st.characters(max_codepoint=0x24F, categories=("L", "Zs")), max_size=40),
    st.text(st.characters(min_codepoint=0x400, max_codepoint=0x9FFF, categories=("L", "M")), max_size=20),
    st.sampled_from(["e\u0301", "\u00c9", "ß", "A", "İ", "12 34", "\n"]),
)
texts = st.builds("".join, st.lists(pieces, max_size=8)) | st.builds(
    str.upper, st.builds("".join, st.lists(pieces, max_size=4))
)


def settings_of(**keys: Any) -> FiltersSection:
    return FiltersSection.model_validate({"language": keys})


def decide(text: str, **keys: Any) -> Decision:
    return filter_text(text, "", settings_of(**keys))


@given(texts)
def test_the_language_is_the_librarys(text: str) -> None:
    found = load_language_model().find_language(text)
    scores = LIBRARY.rank(text)
    if found is None:
        assert len({score for _, score in scores}) <= 3  # uniform: the library found nothing, and languages have 1 or 2
        return
    assert found.probability == pytest.approx(dict(scores)[found.language], abs=CLOSE)
    if scores[0][1] - scores[1][1] > CLOSE:
        assert found.language == LIBRARY.classify(text)[0]


@pytest.mark.parametrize("language", SENTENCES)
def test_only_wanted_languages_stay(language: str) -> None:
    text = SENTENCES[language]
    assert decide(text, keep=[language]) is None
    assert decide(text, keep=["la", "zu"]) == Dropped(f"language: is {language}")


def test_a_language_must_be_likely() -> None:
    found = load_language_model().find_language("in de la")
    assert found is not None
    assert 0.1 < found.probability < 0.9
    for least, decision in (
        (found.probability, None),
        (found.probability + 1e-6, Dropped(f"language: is unlikely {found.language}")),
    ):
        assert decide("in de la", keep=["zu", found.language], min_probability=least) == decision


def test_text_without_a_language_is_dropped() -> None:
    for text in ("", "12", "\n"):
        assert load_language_model().find_language(text) is None
        assert decide(text, keep=["en"]) == Dropped("language: no language is found")


def test_the_beginning_alone_is_looked_at() -> None:
    french = SENTENCES["fr"] * (LOOKED_AT // len(SENTENCES["fr"]) + 1)
    assert decide(french[:LOOKED_AT] + SENTENCES["ru"] * 99_999, keep=["fr"]) is None
    widest = "\U00020000" * LOOKED_AT
    load_language_model().find_language(widest)  # counts stay in their table
    load_language_model().find_language("\u0958" * LOOKED_AT)  # NFC makes two characters of it


def test_scores_are_sums_of_integers() -> None:
    """The largest possible sum is exact in a float of 64 bits, in whatever order a CPU adds."""
    model = load_language_model()
    assert (model.logs == np.rint(model.logs)).all()
    assert (model.priors == np.rint(model.priors)).all()
    fractions = np.abs(np.log1p(np.arange(len(model.logs))) * language_model.LOG_SCALE % 1 - 0.5)
    assert fractions.min() > 1e-7  # no logarithm is so near to a half that a libm might round it the other way
    most = language_model.MAX_BYTES * model.logs[1]  # log(1 + n) is at most n log(2)
    assert most * -float(model.weights.min()) + np.abs(model.priors).max() < 2**53


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"filters.language.keep: .*expected some of ace, af, .*zxx.*found xx, zzz"):
        check_filters(settings_of(keep=["en", "xx", "zzz"]))
    check_filters(settings_of(keep=["en", "zxx"]))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    run = {
        "input": {"paths": [str(tmp_path / "a.txt")]},
        "output": {"url": str(tmp_path / "out")},
        "filters": {"language": {"keep": ["en"]}},
    }
    real = builtins.__import__

    def fail(name: str, *args: Any, **keys: Any) -> Any:
        if name.startswith("py3langid"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **keys)

    for name in [name for name in sys.modules if name.startswith("py3langid")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", fail)
    load_language_model.cache_clear()
    with pytest.raises(ConfigError, match=r'filters\.language: .* not installed.*pip install "maskmill\[filters\]"'):
        prepare(RunFile.model_validate(run), up_to=Part.SHARD)
    assert not (tmp_path / "out").exists()


def test_another_version_of_the_library_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"text": f"{text} {number}"}) for text in SENTENCES.values() for number in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    run = RunFile.model_validate(
        {
            "input": {"paths": [str(tmp_path / "a.jsonl")]},
            "output": {"url": str(tmp_path / "out")},
            "documents": {"held_out": 0.0},
            "filters": {"language": {"keep": ["en", "ja"]}},
            "engine": {"workers": 1},
        }
    )
    made = prepare(run, up_to=Part.SHARD).documents[0]
    assert made.counts.filtered_by_reason == {f"language: is {name}": 5 for name in ("de", "fr", "ru", "sr")}
    assert made.counts.written == 10
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["decisive"]["filters"]["py3langid"] == "0.4.0"
    require_libraries(run.filters, {"py3langid": "0.4.0"})
    with pytest.raises(ConfigError, match=r"expected py3langid 0\.3; found 0\.4\.0"):
        require_libraries(run.filters, {"py3langid": "0.3"})
    monkeypatch.setattr("maskmill.schemas.filters.metadata.version", lambda _: "0.5.0")
    with pytest.raises(ConfigError, match=r"filters\.py3langid"):
        prepare(run, up_to=Part.SHARD)

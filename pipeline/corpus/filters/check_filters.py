"""Refuse filters that cannot run, before a run does any work."""

from __future__ import annotations

from maskmill.pipeline.corpus.filters.language_model import load_language_model
from maskmill.pipeline.corpus.filters.libraries import import_library
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.filters import FiltersSection, LanguageFilter


def check_filters(settings: FiltersSection) -> None:
    """Make sure that the filters that are on have their libraries, and find what they ask for in them.

    Raises:
        ConfigError: A library is not installed, or does not know a language.
    """
    if settings.repair_unicode is not None:
        import_library("repair_unicode", "ftfy")
    if settings.language is not None:
        check_languages(settings.language)


def check_languages(settings: LanguageFilter) -> None:
    """Make sure that the model knows the languages to keep.

    Raises:
        ConfigError: It does not know one, or its library is not installed.
    """
    known = set(load_language_model().languages)
    if unknown := [language for language in settings.keep if language not in known]:
        raise ConfigError(
            "the model does not know a language",
            path="filters.language.keep",
            expected=f"some of {', '.join(sorted(known))}",
            found=", ".join(unknown),
            action="give the code of another language, or leave it out",
        )

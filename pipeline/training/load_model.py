"""The model that a run begins with: fresh weights, or those of a folder that transformers wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers.utils import logging

from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.extend_embeddings import extend_embeddings, find_new_pieces
from maskmill.pipeline.training.families import FAMILIES, Family
from maskmill.pipeline.training.train_data import TrainData
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import list_pieces, load_tokenizer
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import show_value
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE
from maskmill.schemas.model_section import SIZE_KEYS, ModelSection

CONFIG = "config.json"
WEIGHTS = ".safetensors"
INDEX = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 1 << 20
_IN_CONFIG = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
}
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout_prob",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
)
_PAIR_HEADS = ("bert.pooler.", "cls.seq_relationship.", "albert.pooler.", "sop_classifier.")
"""Parts that a model without the sentence task lacks; they start fresh."""


def make_initial_model(section: ModelSection, data: TrainData, seed: int) -> Any:
    """Give the model that a run begins with, in training mode, on the CPU in float32.

    torch's generators are seeded here, as by `build_model`.

    Args:
        section: The family, and the size or the folder.
        data: What it is trained on.
        seed: Of fresh weights and of dropout.

    Raises:
        ConfigError: The folder in `model.init` holds no model of this family and size, or one of another tokenizer.
    """
    if section.init is not None:
        return _load_model(section, section.init, data, seed)
    return build_model(
        section,
        vocab_size=data.vocab_size,
        seq_len=data.seq_len,
        pad_id=data.pad_id,
        mask_id=data.mask_id,
        seed=seed,
    )


def _load_model(section: ModelSection, url: str, data: TrainData, seed: int) -> Any:
    store, family = open_store(url), FAMILIES[section.family]
    config = _read_config(section, family, store)
    old = list_pieces(load_tokenizer(read_brought_files(url), Normalisation(), store.display_url))
    new = list_pieces(load_tokenizer(data.tokenizer_json, Normalisation(), "data.dataset"))
    new_pieces = find_new_pieces(old, new, store.display_url)
    torch.manual_seed(seed)  # of parts that are not in the folder
    model = _read_weights(section, family, store, config)
    extend_embeddings(model, new_pieces, len(new))
    torch.manual_seed(seed)  # whatever loading has drawn
    model.train()
    return model


def _read_config(section: ModelSection, family: Family, store: Store) -> Any:
    """The configuration of the folder, with the dropout of the train file if that sets one."""
    try:
        values = parse_json(store.read_bytes(CONFIG, MAX_CONFIG_BYTES), MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise _refuse_folder(store, "no config.json") from None
    except ValueError as error:
        raise _refuse_folder(store, f"{CONFIG}: {error}") from None
    model_type = values.get("model_type") if isinstance(values, dict) else None
    if model_type != section.family:
        raise _refuse(
            "the folder holds a model of another family",
            store.locate(CONFIG),
            f"model_type {section.family}, as model.family",
            show_value(model_type),
            "set model.family to that of the folder",
        )
    try:
        config = family.model.config_class.from_dict(values)
    except Exception as error:  # noqa: BLE001  # of a library, about a file that anybody may have written
        raise _refuse_folder(store, f"{CONFIG}: {type(error).__name__}: {error}") from None
    _check_bounds(section, config, store)
    for key in SIZE_KEYS:
        asked, there = getattr(section, key), getattr(config, _IN_CONFIG[key])
        if key in section.model_fields_set and asked not in (None, there):
            raise _refuse(
                f"model.{key} is not that of the model in model.init",
                store.locate(CONFIG),
                str(asked),
                str(there),
                f"leave model.{key} and model.size out: they are those of the folder",
            )
    for name in _DROPOUTS:
        if "dropout" in section.model_fields_set and hasattr(config, name):
            setattr(config, name, section.dropout)
    return config


def _check_bounds(section: ModelSection, config: Any, store: Store) -> None:
    """Refuse sizes that no train file could ask for, before anything of that size is built."""
    values = {key: getattr(config, name) for key, name in _IN_CONFIG.items()}
    try:
        ModelSection.model_validate(
            {"family": section.family, **values, "max_positions": config.max_position_embeddings}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _refuse_folder(store, f"{CONFIG}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if not 0 < config.vocab_size <= MAX_VOCAB_SIZE:
        raise _refuse_folder(store, f"{CONFIG}: a vocabulary of {config.vocab_size} pieces")


def _read_weights(section: ModelSection, family: Family, store: Store, config: Any) -> Any:
    """Build the model from the folder's files of safetensors, which need no pickle and no code of the folder."""
    names = [name for name in store.list_names() if name.endswith(WEIGHTS) or name == INDEX]
    if not any(name.endswith(WEIGHTS) for name in names):
        raise _refuse_folder(store, "no file of safetensors")
    with tempfile.TemporaryDirectory(prefix="maskmill-model-") as folder:
        for name in names:
            Path(folder, name).write_bytes(store.read_bytes(name))
        try:
            with _silence():
                model, report = family.choose_class(section).from_pretrained(
                    folder,
                    config=config,
                    use_safetensors=True,
                    local_files_only=True,
                    dtype=torch.float32,
                    attn_implementation="sdpa" if family.layout == "sdpa" else "eager",
                    output_loading_info=True,
                )
        except RuntimeError:  # it says which in its log alone
            raise _refuse_folder(store, f"weights of other shapes than {CONFIG} says") from None
        except Exception as error:  # noqa: BLE001  # transformers raises errors of many kinds
            raise _refuse_folder(store, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(_PAIR_HEADS))
    if missing:
        raise _refuse_folder(store, f"no weights for {missing[0]}, and {len(missing) - 1} more")
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Keep transformers from drawing a bar, and from a table of what it found, which is checked here."""
    was_shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_shown:
            logging.enable_progress_bar()


def _refuse_folder(store: Store, found: str) -> ConfigError:
    return _refuse(
        "there is no model here to begin with",
        store.display_url,
        "a folder of transformers with config.json, model.safetensors and a tokenizer",
        found,
        "name such a folder in model.init, such as model/ of another run",
    )


def _refuse(what: str, path: str, expected: str, found: str, action: str) -> ConfigError:
    return ConfigError(what, path=path, expected=expected, found=found, action=action)

"""Every recipe of the package is whole and explained; a user's own is one too, or is refused by name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

import tests
from maskmill.pipeline.recipes import list_recipes, read_recipe
from maskmill.pipeline.settings import find_origins, load_settings, read_toml
from maskmill.pipeline.training.optimizer import build_optimizer
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.model_section import ModelSection
from maskmill.schemas.recipe_file import RecipeFile
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile

NAMES = [recipe.name for recipe in list_recipes()]
KEY = re.compile(r"([a-z_]+) = (.+?)(?: # (.+))?")
RUN = {"input": {"paths": ["corpus/*.txt"]}, "output": {"url": "out"}}
TRAIN = {"data": {"dataset": "out/packed"}, "run": {"output": "out/training"}}
SEVERAL = TRAIN | {"data": {"dataset": "en/packed", "more_datasets": ["de/packed"]}}


def give_what_is_needed(name, file):
    """A run or train file with a value for each key that a recipe leaves to it."""
    sections = RunFile.model_fields if "input" in file else TrainFile.model_fields
    needs = {section: keys for section, keys in read_recipe(name).needs.items() if section in sections}
    return {
        **file,
        **{section: dict.fromkeys(keys, "a/folder") | file.get(section, {}) for section, keys in needs.items()},
    }


def test_the_recipes_of_the_literature_are_there():
    bert_and_its_heirs = {"albert", "bert", "bert-wwm", "deberta", "roberta", "spanbert"}
    assert bert_and_its_heirs | {"modernbert", "mosaicbert", "neobert"} <= set(NAMES)
    assert sorted(NAMES) == NAMES


def test_the_guide_lists_every_recipe():
    page = (Path(tests.__file__).parents[1] / "docs" / "recipes.md").read_text()
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_key_says_where_it_comes_from(name):
    """A key is on one line, with a comment; the description names the paper."""
    recipe = read_recipe(name)
    described, _, rest = recipe.text.partition("\n[")
    assert recipe.summary.endswith(".")
    assert re.search(r"arXiv \d{4}\.\d{5}|github\.com", described)
    found = {}
    for line in f"[{rest}".splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            assert section.rpartition(".")[2] in RecipeFile.model_fields
        elif line:
            match = KEY.fullmatch(line)
            assert match, line
            assert match[3], line
            found[section, match[1]] = match[2]
    assert found.keys() == set(list_places(tomllib.loads(recipe.text)))
    assert {"pack", "mask", "model", "optimizer"} <= {section for section, _ in found}


def list_needed(name, section):
    return [f"{section}.{key}" for key in read_recipe(name).needs.get(section, {})]


def list_places(values, *above):
    """The keys of a recipe, each with its section; schedules are values of a key."""
    for key, value in values.items():
        if isinstance(value, dict) and not {"curve", "points"} <= value.keys():
            yield from list_places(value, *above, key)
        else:
            yield ".".join(above), key


@pytest.mark.parametrize("name", NAMES)
def test_run_and_train_files_take_the_keys_that_they_have(name):
    recipe = tomllib.loads(read_recipe(name).text)
    run = load_settings(RunFile, give_what_is_needed(name, RUN), "run", name)
    train = load_settings(TrainFile, give_what_is_needed(name, SEVERAL), "train_file", name)
    for model, sections in ((run, ("documents", "tokenizer", "pack", "mask")), (train, ("data", "model", "optimizer"))):
        for section in sections:
            for key, value in recipe.get(section, {}).items():
                found = getattr(getattr(model, section), key if key != "from" else "from_")
                found = found.model_dump(mode="json") if isinstance(found, BaseModel) else found
                assert (list(found) if isinstance(found, tuple) else found) == value, (section, key)
    assert train.run.steps == recipe["run"]["steps"]
    assert train.mask == run.mask.masking()


@pytest.mark.parametrize(("name", "share"), [("mosaicbert", 1e-5), ("modernbert", 1e-5), ("mmbert", 8e-5)])
def test_decay_that_a_paper_gives_for_a_step_takes_as_much_of_a_weight_here(name, share):
    """The optimizers of these three do not multiply it by the learning rate; AdamW does (arXiv 1711.05101)."""
    section = load_settings(TrainFile, TRAIN, "train_file", name).optimizer
    weight = torch.nn.Linear(1, 1, bias=False).double()
    before = weight.weight.item()
    optimizer = build_optimizer(weight, section)
    weight.weight.grad = torch.zeros(1, 1).double()
    optimizer.step()
    assert 1 - weight.weight.item() / before == pytest.approx(share, rel=0.01)


def test_a_users_keys_win_over_a_recipe_and_options_over_both(tmp_path):
    (tmp_path / "train.toml").write_text(
        '[data]\ndataset = "d"\nglobal_batch_rows = 32\n[model]\nsize = "tiny"\n[run]\noutput = "o"\n'
    )
    train = read_toml(TrainFile, str(tmp_path / "train.toml"), ["optimizer.weight_decay=0.5"], "roberta")
    assert (train.data.global_batch_rows, train.model.hidden_size, train.model.family) == (32, 128, "roberta")
    assert (train.optimizer.weight_decay, train.optimizer.betas, train.run.steps) == (0.5, (0.9, 0.98), 500000)


def test_a_weight_of_datasets_holds_only_beside_several(tmp_path):
    """That of a recipe is left out; a user's own is a mistake."""
    assert load_settings(TrainFile, TRAIN, "train_file", "multilingual").data.alpha == 1.0
    assert load_settings(TrainFile, SEVERAL, "train_file", "multilingual").data.alpha == 0.3
    for recipe in (None, "multilingual"):
        with pytest.raises(ConfigError, match=r"alpha .*several datasets.*more_datasets"):
            load_settings(TrainFile, TRAIN | {"data": {"dataset": "d", "alpha": 0.5}}, "train_file", recipe)
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[run]\noutput = "o"\n')
    with pytest.raises(ConfigError, match="more_datasets"):
        read_toml(TrainFile, str(tmp_path / "train.toml"), ["data.alpha=0.5"], "multilingual")


@pytest.mark.parametrize("name", NAMES)
def test_a_users_size_or_folder_replaces_that_of_the_recipe(name, tmp_path):
    """Also where the recipe has single widths, as that of NeoBERT."""
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[run]\noutput = "o"\n')
    needed = [f"{key}=folder" for key in list_needed(name, "model")]
    tiny = read_toml(TrainFile, str(tmp_path / "train.toml"), ["model.size=tiny", *needed], name).model
    assert (tiny.hidden_size, tiny.num_layers, tiny.num_heads) == (128, 2, 2)
    begun = load_settings(TrainFile, TRAIN | {"model": {"init": "folder"}}, "train_file", name).model
    assert not {"size", "hidden_size", "num_layers", "num_heads", "intermediate_size"} & begun.model_fields_set
    wide = load_settings(TrainFile, TRAIN | {"model": {"num_layers": 3}}, "train_file", "neobert").model
    assert (wide.hidden_size, wide.num_layers) == (768, 3)


@pytest.mark.parametrize(
    ("name", "mask", "gone"),
    [
        ("spanbert", {"strategy": "token"}, {"replace_by", "max_span", "span_lengths"}),
        ("spanbert", {"strategy": "span"}, set()),
        ("diffusion", {"rate": 0.3}, {"per_sequence_rate", "loss_weights", "selection"}),
        ("diffusion", {"strategy": "span", "rate": 0.2}, {"per_sequence_rate", "loss_weights", "selection"}),
        ("roberta", {"per_sequence_rate": [0.1, 0.5]}, {"rate"}),
    ],
)
def test_another_way_to_mask_replaces_what_it_excludes(name, mask, gone):
    found = load_settings(RunFile, RUN | {"mask": mask}, "run", name).mask.model_dump(mode="json", exclude_unset=True)
    kept = {key: value for key, value in read_recipe(name).sections["mask"].items() if key not in gone | mask.keys()}
    assert kept.items() <= found.items()
    assert not gone & found.keys()
    assert mask.items() <= found.items()


def test_a_copy_with_a_change_is_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(read_recipe("roberta").text.replace("rate = 0.15", "rate = 0.4"))
    assert read_recipe(str(path)).sections["mask"]["rate"] == 0.4
    run = load_settings(RunFile, RUN, "run", str(path))
    assert (run.mask.rate, run.pack.sequences) == (0.4, "full_sentences")
    assert run.model_dump(exclude={"mask"}) == load_settings(RunFile, RUN, "run", "roberta").model_dump(
        exclude={"mask"}
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[mask]\nrat = 0.15\n", "unknown key mask.rat; expected one of rate"),
        ("[mask]\nrate = 2.0\n", "the value of mask.rate is wrong"),
        ("[masks]\nrate = 0.15\n", "unknown key masks"),
        ('[output]\nurl = "out"\n', "unknown key output"),
        ("[optimizer]\nwarmup_steps = 10\ndecay_steps = 10\n", "decay_steps 10 is not after warmup_steps 10"),
        ('[model]\nfamily = "bort"\n', "the value of model.family is wrong"),
        ("mask = 3\n", "mask is not a section"),
        ('[needs.model]\nint = "a"\n', "unknown key needs.model.int; expected one of "),
        ('[needs.modle]\ninit = "a"\n', "unknown key needs.modle; expected one of the sections documents, "),
        ("[needs.model]\ninit = 3\n", "the value of needs.model.init is wrong; expected a text that says what"),
        ("needs = 3\n", "the value of needs is wrong; expected tables such as [needs.model]"),
        ('[needs]\nmodel = "init"\n', "the value of needs is wrong"),
        ("[sizes.huge.run]\nsteps = 3\n", "unknown key sizes.huge; expected one of tiny, small, base, large"),
        ("[sizes.base.pack]\nseq_len = 3\n", "unknown key sizes.base.pack; expected one of the sections mask, "),
        ("[sizes.base.run]\nstep = 3\n", "mine.toml, [sizes.base]: unknown key run.step; expected one of steps"),
        ("[lengths.128.run]\nsteps = 3\n", "unknown key lengths.128; expected one of 512"),
        ("[lengths.512.pack]\nseq_len = 3\n", "unknown key lengths.512.pack; expected one of the sections mask, "),
        ("[lengths.512.run]\nstep = 3\n", "mine.toml, [lengths.512]: unknown key run.step; expected one of steps"),
        ("[lengths.512.mask]\nrate = 2.0\n", "mine.toml, [lengths.512]: the value of mask.rate is wrong"),
        ("[lengths]\n512 = 3\n", "the value of lengths is wrong; expected tables such as [lengths."),
        ("[mask\n", "not valid TOML"),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_its_path(tmp_path, text, named):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(RunFile, RUN, "run", str(path))
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("robert", "did you mean roberta?"),
        ("gpt", "expected one of"),
        ("./nothing.toml", "does not exist"),
        ("", "this is no recipe"),
        (3, "this is no recipe"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused_with_what_is(name, named):
    with pytest.raises(ConfigError) as caught:
        load_settings(TrainFile, TRAIN, "train_file", name)
    assert named in str(caught.value)
    assert "--recipe" not in str(caught.value)  # an option, which a program does not have


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="the recipe is not UTF-8"):
        read_recipe(str(tmp_path / "mine.toml"))


def test_what_only_the_recipe_has_wrong_beside_the_file_is_said_to_be_of_both(tmp_path):
    """Neither is wrong alone."""
    (tmp_path / "run.toml").write_text('[input]\npaths = ["a"]\n[output]\nurl = "o"\n[pack]\nsplit = "fill"\n')
    assert read_toml(RunFile, str(tmp_path / "run.toml")).pack.split == "fill"
    with pytest.raises(ConfigError, match=r"run\.toml with --recipe roberta.*does not go with sequences"):
        read_toml(RunFile, str(tmp_path / "run.toml"), recipe="roberta")
    with pytest.raises(ConfigError, match=r"run with recipe roberta.*does not go with sequences"):
        load_settings(RunFile, RUN | {"pack": {"split": "fill"}}, "run", "roberta")
    (tmp_path / "wrong.toml").write_text('[input]\npaths = ["a"]\n[output]\nurl = "o"\n[pack]\nseq_len = "long"\n')
    with pytest.raises(ConfigError) as caught:
        read_toml(RunFile, str(tmp_path / "wrong.toml"), recipe="roberta")
    assert "--recipe" not in str(caught.value)


ELECTRA = {  # arXiv 2003.10555, table 6
    "small": (0.15, 128, 64, 5e-4, 1_000_000),
    "base": (0.15, 256, 256, 2e-4, 766_000),
    "large": (0.25, 2048, 256, 2e-4, 400_000),
}


@pytest.mark.parametrize("size", ELECTRA)
def test_a_size_of_electra_has_the_values_of_its_paper(size, tmp_path):
    """By file, by option and from Python."""
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[run]\noutput = "o"\n')
    (tmp_path / "sized.toml").write_text(f'[data]\ndataset = "d"\n[model]\nsize = "{size}"\n[run]\noutput = "o"\n')
    for train in (
        read_toml(TrainFile, str(tmp_path / "train.toml"), [f"model.size={size}"], "electra"),
        read_toml(TrainFile, str(tmp_path / "sized.toml"), recipe="electra"),
        load_settings(TrainFile, TRAIN | {"model": {"size": size}}, "train_file", "electra"),
    ):
        generator = train.model.shrink().hidden_size
        rates = train.mask.rate, train.data.global_batch_rows, generator, train.optimizer.learning_rate
        assert (*rates, train.run.steps) == ELECTRA[size]
        assert train.optimizer.decay_steps == train.run.steps
        assert train.optimizer.warmup_steps == 10_000


def test_a_users_keys_win_over_those_of_a_size(tmp_path):
    (tmp_path / "train.toml").write_text(
        '[data]\ndataset = "d"\n[mask]\nrate = 0.2\n[model]\nsize = "large"\n[run]\noutput = "o"\n'
    )
    train = read_toml(TrainFile, str(tmp_path / "train.toml"), ["run.steps=10"], "electra")
    assert (train.mask.rate, train.mask.mask_share, train.run.steps) == (0.2, 0.85, 10)
    assert train.optimizer.learning_rate == 2e-4


def test_a_folder_to_begin_with_has_no_keys_of_a_size(tmp_path):
    """Its size is not known before it is read; that of the recipe does not hold."""
    begun = load_settings(TrainFile, TRAIN | {"model": {"init": "folder"}}, "train_file", "electra")
    assert begun.optimizer.learning_rate == 5e-4
    (tmp_path / "mine.toml").write_text(read_recipe("electra").text.replace('size = "small"', 'size = "large"'))
    begun = load_settings(TrainFile, TRAIN | {"model": {"init": "folder"}}, "train_file", str(tmp_path / "mine.toml"))
    assert begun.mask.rate == 0.15
    assert load_settings(TrainFile, TRAIN, "train_file", str(tmp_path / "mine.toml")).mask.rate == 0.25


@pytest.mark.parametrize("name", [recipe.name for recipe in list_recipes() if recipe.sizes])
def test_every_size_of_a_recipe_is_a_whole_train_file(name):
    for size, sections in read_recipe(name).sizes.items():
        train = load_settings(TrainFile, TRAIN | {"model": {"size": size}}, "train_file", name)
        values = train.model_dump(mode="json")
        assert all(values[section][key] == value for section, keys in sections.items() for key, value in keys.items())
        origins = find_origins(train, name)
        assert {f"{section}.{key}" for section, keys in sections.items() for key in keys} <= origins.keys()


def test_a_recipe_for_a_model_that_exists_needs_that_model(tmp_path):
    """By file, by option and from Python; the message says what the key is."""
    (tmp_path / "run.toml").write_text('[input]\npaths = ["a"]\n[output]\nurl = "o"\n')
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[run]\noutput = "o"\n')
    for model, file, key in ((RunFile, "run.toml", "tokenizer.from"), (TrainFile, "train.toml", "model.init")):
        with pytest.raises(ConfigError) as caught:
            read_toml(model, str(tmp_path / file), recipe="domain")
        assert f"{file} with --recipe domain: {key} is missing" in str(caught.value)
        assert f"expected {key}, the folder of the model to go on with" in str(caught.value)
        read_toml(model, str(tmp_path / file), [f"{key}=folder"], "domain")
    for model, given in ((RunFile, RUN), (TrainFile, TRAIN)):
        with pytest.raises(ConfigError, match=r"with recipe domain: (tokenizer\.from|model\.init) is missing"):
            load_settings(model, given, "given", "domain")
        assert load_settings(model, give_what_is_needed("domain", given), "given", "domain")
    assert load_settings(TrainFile, TRAIN | {"model": ModelSection(init="folder")}, "given", "domain")
    with pytest.raises(ConfigError, match="is missing"):
        load_settings(TrainFile, TRAIN | {"model": ModelSection()}, "given", "domain")


def test_a_copy_that_sets_what_it_needs_is_enough(tmp_path):
    text = read_recipe("domain").text.replace("[model]\n", '[model]\ninit = "folder"\n')
    (tmp_path / "mine.toml").write_text(text)
    assert load_settings(TrainFile, TRAIN, "train_file", str(tmp_path / "mine.toml")).model.init == "folder"


def test_a_key_that_is_misspelt_is_not_said_to_be_missing(tmp_path):
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[model]\nint = "f"\n[run]\noutput = "o"\n')
    with pytest.raises(ConfigError, match=r"unknown key model\.int.*did you mean model\.init"):
        read_toml(TrainFile, str(tmp_path / "train.toml"), recipe="domain")


@pytest.mark.parametrize(
    ("name", "section", "keys", "overrides", "blamed"),
    [
        # The recipe writes what is the default too.
        ("bert", "mask", {}, ["mask.mask_share=1.0"], "run.toml with --recipe bert and --set mask.mask_share=1.0"),
        ("bert", "mask", {"mask_share": 1.0}, [], "run.toml with --recipe bert"),
        # The recipe writes another value than the default.
        ("electra", "mask", {"random_share": 0.2}, [], "run.toml with --recipe electra"),
        # Both keys are the user's own, or only the recipe's other keys are in the section.
        ("bert", "mask", {"mask_share": 1.0, "random_share": 0.2}, [], "run.toml"),
        ("bert", "mask", {"mask_share": 1.0}, ["mask.random_share=0.3"], "run.toml with --set mask.random_share=0.3"),
        ("bert", "mask", {"per_sequence_rate": [0.5, 0.1]}, [], "run.toml"),
        (None, "mask", {}, ["mask.mask_share=1.0"], "run.toml with --set mask.mask_share=1.0"),
    ],
)
def test_a_conflict_names_the_recipe_if_it_sets_one_of_the_keys(tmp_path, name, section, keys, overrides, blamed):
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    (tmp_path / "run.toml").write_text(f'[input]\npaths = ["a"]\n[output]\nurl = "o"\n[{section}]\n{lines}')
    with pytest.raises(ConfigError) as caught:
        read_toml(RunFile, str(tmp_path / "run.toml"), overrides, name)
    assert str(caught.value).startswith(f"{tmp_path}/{blamed}, ") or str(caught.value).startswith(
        f"{tmp_path}/{blamed}: "
    )
    if not overrides:
        with pytest.raises(ConfigError) as caught:
            load_settings(RunFile, RUN | {section: keys}, "run", name)
        assert ("with recipe" in str(caught.value)) is ("--recipe" in blamed)


def test_a_conflict_between_sections_names_the_recipe_that_sets_one_of_them(tmp_path):
    (tmp_path / "train.toml").write_text('[data]\ndataset = "d"\n[run]\noutput = "o"\nsteps = 1000001\n')
    with pytest.raises(ConfigError, match=r"train\.toml with --recipe bert: run\.steps 1000001 goes beyond"):
        read_toml(TrainFile, str(tmp_path / "train.toml"), recipe="bert")
    own = ["optimizer.decay_steps=20000"]
    with pytest.raises(ConfigError, match=r"train\.toml with --set optimizer\.decay_steps=20000: run\.steps"):
        read_toml(TrainFile, str(tmp_path / "train.toml"), own, "bert")


def test_a_recipe_is_refused_beside_settings_that_are_complete():
    with pytest.raises(ConfigError, match="a recipe goes under what is not set"):
        load_settings(RunFile, RunFile.model_validate(RUN), "run", "roberta")

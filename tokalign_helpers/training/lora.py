"""Contrastive training of a LoRA adapter, with a teacher or without."""

import copy
import json
from collections.abc import Mapping, Sequence
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

from tokalign_helpers.basics.files import replacing, write_text
from tokalign_helpers.models.embedding import Embedder, pad
from tokalign_helpers.models.splade import Splade
from tokalign_helpers.training.losses import distillation_loss, info_nce, ranking_loss
from tokalign_helpers.training.pairs import Triplet
from tokalign_helpers.training.recipes import Recipe

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHECKPOINT = "checkpoint.safetensors"
PASS_TOKENS = {"cpu": 1024, "cuda": 8192}  # padded tokens in one forward pass: the fewer, the less padding
KEPT_TOKENS = {"cpu": 4096, "cuda": 8192}  # padded tokens whose activations are held at once: 1 to 2.5 MB each


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
        How the adapter is made.
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


def lora_config(embedder: Embedder, recipe: Recipe) -> peft.LoraConfig:
    """Return where and how large the low-rank updates are.

    Parameters
    ----------
    embedder : Embedder
        The embedder that is trained.
    recipe : Recipe
        How the adapter is made.

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
        The training pairs by the name of their source.
    recipe : Recipe
        How the adapter is made.
    step : int
        The number of the step, from 0.

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
    assert h.grad is not None  # the loss is a function of every vector
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
    assert teacher is not None  # train_adapter refuses a recipe whose teacher is missing
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
    """Group prompts of like length, shortest first, so that a group has at most that many padded tokens."""
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


def fast_bfloat16(device: str) -> bool:
    """Return whether a device computes in bfloat16 faster than in float32.

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

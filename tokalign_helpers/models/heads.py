"""The decoder layer, found through what the library knows of an architecture: what it is called, and what surrounds it.

A language model is outlined on the meta device, where it takes no memory and reads no file. The outline says which
tensors of a checkpoint are the decoder layer's, under whatever name it keeps them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from tokalign_helpers.basics.assets import quiet_transformers
from tokalign_helpers.basics.checks import first_line, one_line


@dataclass(frozen=True, eq=False)
class Head:
    """What a language model has around its decoder layer's matrix E: scores = E transform(h) + bias.

    Whatever a model does to its scores afterwards is left out: dividing them (Granite, Cohere) or capping them softly
    (Gemma 2) changes no token's rank, and without it scores stay linear in what E reads.

    Parameters
    ----------
    width : int
        d, of the vectors that are read.
    bias : Tensor, (V,), optional
        Added to the scores. None: nothing is.
    transform : Module, (n, d) → (n, columns of E), optional
        The layers that a masked-LM head has before the matrix. None: the matrix reads the vectors themselves.
    """

    width: int
    bias: Tensor | None = None
    transform: nn.Module | None = None


class Outline:
    """A language model without weights: the names and shapes of its tensors.

    Parameters
    ----------
    config : PretrainedConfig
        The model's configuration, as transformers reads it.
    source : str
        What the model is called in messages.

    Raises
    ------
    ValueError
        If the library knows no language model of this architecture, or none that is a body below a decoder layer.
    """

    def __init__(self, config: PretrainedConfig, source: str) -> None:
        self.source = source
        self.model = outline_model(config, source)
        self.tensors = self.model.state_dict()
        self.prefix = f"{self.model.base_model_prefix}."
        self.layer = self.model.get_output_embeddings()
        if self.layer is None or self.model.base_model is self.model:
            raise ValueError(f"{source} is a {config.model_type} model, whose decoder layer the library does not name")

    @cached_property
    def matrix(self) -> str:
        """Name of E_g in the model."""
        rows = len(self.model.get_input_embeddings().get_parameter("weight"))
        weight = getattr(self.layer, "weight", None)
        of_the_layer = weight is not None and weight.ndim == 2 and len(weight) >= rows
        return f"{self._layer_name}.weight" if of_the_layer else self._input_name  # DeBERTa names another layer

    @cached_property
    def bias(self) -> str | None:
        """Name of what is added to the scores, if anything is."""
        if getattr(self.layer, "bias", None) is not None and self.matrix != self._input_name:
            return f"{self._layer_name}.bias"
        return next(iter(self._over_the_vocabulary), None)

    @cached_property
    def transform(self) -> list[str]:
        """Names of the tensors between the body's vectors and E_g; none where E_g reads the vectors themselves."""
        outside = (name for name in self.tensors if not name.startswith(self.prefix))
        return [name for name in outside if name not in {self.matrix, self.bias, *self._over_the_vocabulary}]

    def found_in(self, names: Iterable[str]) -> dict[str, str]:
        """Return which of a checkpoint's tensors the decoder layer consists of.

        Parameters
        ----------
        names : Iterable[str]
            The checkpoint's, which may be of another version of the library, or lack the prefix of the body.

        Returns
        -------
        dict[str, str]
            Name in the model → name in the checkpoint, for all that is needed.

        Raises
        ------
        ValueError
            If something is missing; the message names it.
        """
        held = self._by_own_name(names)
        needed = [self.matrix, *filter(None, [self.bias]), *self.transform]
        found: dict[str, str] = {}
        for name in needed:
            stored = next((held[n] for n in self._tied_to(name) if n in held), None)
            if stored is None:
                raise ValueError(
                    f"{self.source} holds no decoder layer ({name} is missing); "
                    "name the language model that it was made from as backbone"
                )
            found[name] = stored
        return found

    def head(self, tensors: Mapping[str, Tensor]) -> Head | None:
        """Build what surrounds E_g.

        Parameters
        ----------
        tensors : Mapping[str, Tensor]
            By their names in the model, as :meth:`found_in` gives them.

        Returns
        -------
        Head or None
            None: nothing surrounds it.

        Raises
        ------
        ValueError
            If the library computes the scores in a way that cannot be told apart into layers and a matrix.
        """
        matrix = tensors[self.matrix]
        bias = None if self.bias is None or self.bias not in tensors else tensors[self.bias].float()
        if not self.transform:
            return None if bias is None else Head(matrix.shape[1], bias)
        try:
            transform = _Transform(self, {name: tensors[name].float() for name in self.transform}, matrix)
            width = self._agrees(transform, matrix, bias)
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
            raise ValueError(self._unknown(f" ({first_line(error, 80)})")) from error
        return Head(width, bias, transform)

    def _agrees(self, transform: "_Transform", matrix: Tensor, bias: Tensor | None) -> int:
        """Return the width of the vectors read, once the head's scores are those of the library's own head."""
        width = _width(self.model.config)
        h = torch.randn(2, width, generator=torch.Generator().manual_seed(0)).to(matrix.device)
        with torch.no_grad():
            found = transform(h) @ matrix.float().T + (0 if bias is None else bias)
            expected = transform.library(h, matrix.float(), bias)
        if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
            raise ValueError(self._unknown(""))
        return width

    def _unknown(self, why: str) -> str:
        kind = type(self.model).__name__
        return f"the decoder layer of {self.source} cannot be read apart from its model: {kind} is unlike others{why}"

    @cached_property
    def _layer_name(self) -> str:
        return next(name for name, module in self.model.named_modules() if module is self.layer)

    @cached_property
    def _input_name(self) -> str:
        given = self.model.get_input_embeddings()
        return next(f"{name}.weight" for name, module in self.model.named_modules() if module is given)

    @cached_property
    def _over_the_vocabulary(self) -> list[str]:
        """Names of vectors outside the body with one number for each token: one bias, under one or more names."""
        rows = self.tensors[self.matrix].shape[:1]
        return [n for n, t in self.tensors.items() if t.shape == rows and not n.startswith(self.prefix)]

    def _tied_to(self, name: str) -> list[str]:
        """Return all names of a tensor; a checkpoint need hold only one of them."""
        tied = self.model.all_tied_weights_keys
        source = tied.get(name, name)
        return list(dict.fromkeys([name, source, *(target for target, other in tied.items() if other == source)]))

    def _by_own_name(self, names: Iterable[str]) -> dict[str, str]:
        """Rename a checkpoint's tensors as the library does when it loads them."""
        changes = get_model_conversion_mapping(self.model)
        renamings = [change for change in changes if isinstance(change, WeightRenaming)]
        converters = [change for change in changes if isinstance(change, WeightConverter)]
        known, held = (self.model.base_model_prefix, self.tensors), {}
        for name in names:
            renamed, _ = rename_source_key(name, renamings, converters, *known)
            if renamed not in self.tensors:
                renamed, _ = rename_source_key(name, [], [], *known)
            held[renamed] = name
        return held


def outline_model(config: PretrainedConfig, source: str) -> PreTrainedModel:
    """Build a language model of an architecture on the meta device, without weights.

    Parameters
    ----------
    config : PretrainedConfig
        The model's configuration, as transformers reads it.
    source : str
        What the model is called in messages.

    Returns
    -------
    PreTrainedModel
        With its decoder layer: for causal language modelling, or for masked tokens where the model is an encoder.

    Raises
    ------
    ValueError
        If the library knows no language model of this architecture, or cannot make one of so unusual a configuration.
    """
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{source} is an encoder-decoder model ({kind}); only decoder-only models and encoders can be read"
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise ValueError(f"{source} is a {kind} model, of which the library knows no language model; it has no tokens")
    family = AutoModelForMaskedLM if is_encoder(config) else AutoModelForCausalLM
    odd = f"no model can be made from the configuration of {source}"
    with one_line(odd), torch.device("meta"), quiet_transformers():
        return family.from_config(config, trust_remote_code=False).eval().requires_grad_(False)


def is_encoder(config: PretrainedConfig) -> bool:
    """Return whether a model reads in both directions and has a masked-LM head, by what the library makes of it.

    Parameters
    ----------
    config : PretrainedConfig
        The model's configuration, as transformers reads it.

    Returns
    -------
    bool
    """
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)


def _width(config: PretrainedConfig) -> int:
    return config.get_text_config().hidden_size


class _Given(nn.Module):
    """Takes the place of a model's body and returns the vectors that it is given."""

    def forward(self, *args: object, inputs_embeds: Tensor, **kwargs: object) -> object:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=inputs_embeds)


class _Transform(nn.Module):
    """The library's own masked-LM head with the unit matrix in place of E_g: what is left is what comes before it."""

    def __init__(self, outline: Outline, tensors: Mapping[str, Tensor], matrix: Tensor) -> None:
        super().__init__()
        self.model = outline_model(outline.model.config, outline.source)
        self.matrix, self.biases = outline.matrix, [outline.bias, *outline._over_the_vocabulary]
        setattr(self.model, self.model.base_model_prefix, _Given())
        for name, tensor in tensors.items():
            self._put(name, tensor)
        self.unit = torch.eye(matrix.shape[1], device=matrix.device)
        self._stand_in(self.unit, None)
        self.requires_grad_(False).eval()

    def forward(self, h: Tensor) -> Tensor:
        """Return what E_g reads, (n, columns of E_g)."""
        return self.model(inputs_embeds=h[:, None]).logits[:, 0]

    def library(self, h: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        """Return the scores as the library's own head computes them, with E_g in its place, (n, V)."""
        self._stand_in(matrix, bias)
        scores = self(h)
        self._stand_in(self.unit, None)
        return scores

    def _stand_in(self, matrix: Tensor, bias: Tensor | None) -> None:
        self._put(self.matrix, matrix)
        for name in filter(None, self.biases):
            self._put(name, torch.zeros(1, device=matrix.device) if bias is None else bias)

    def _put(self, name: str, tensor: Tensor) -> None:
        """Set a parameter, along a path of modules that may end in the body that is gone."""
        *path, last = name.split(".")
        module = self.model
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        setattr(module, last, nn.Parameter(tensor, requires_grad=False))

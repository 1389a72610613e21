"""A small trained sparse retriever: the teacher of the distilled embedders, and an honest baseline for search.

SPLADE (Formal et al. 2021) reads a text with a masked language model and keeps, for every entry of the vocabulary, the
largest logit over the text's positions, as log(1 + relu(logit)). The one used here has 4.4 million parameters (two
layers of width 128) and was trained on MS MARCO by others.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_array, vstack
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tokalign_helpers.basics.assets import asset_path
from tokalign_helpers.models.hub import move_to

LOGITS = 1 << 26  # numbers in the logits of one pass: 256 MB
MAX_TOKENS = 256
OLD_NAMES = {"gamma": "weight", "beta": "bias"}  # of layer norms, as the file has them


@dataclass(frozen=True, eq=False)
class Splade:
    """A masked language model read as a sparse encoder.

    Parameters
    ----------
    model : BertForMaskedLM
        In evaluation mode.
    tokenizer : PreTrainedTokenizerBase
        The model's own.
    max_tokens : int
        A longer text is cut to this many tokens, special tokens included.
    """

    model: BertForMaskedLM
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int = MAX_TOKENS

    def encode(self, texts: Sequence[str]) -> csr_array:
        """Return the sparse vectors of texts; the score of two texts is their dot product.

        Parameters
        ----------
        texts : Sequence[str], n of them
            The texts to encode.

        Returns
        -------
        csr_array, (n, V), float32
            V is the size of the teacher's own vocabulary, not of the LLM's.

        Raises
        ------
        ValueError
            If there are no texts.
        """
        if not len(texts):
            raise ValueError("texts is empty; give at least one text")
        rows, places = [], []
        for part, weights in self._passes(texts):
            places += part
            rows.append(csr_array(weights.cpu().numpy()))
        return vstack(rows, format="csr")[np.argsort(places)]

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Return the same vectors with their zeros, on the model's device: for the few texts of a training batch.

        Parameters
        ----------
        texts : Sequence[str], n of them
            The texts to encode.

        Returns
        -------
        Tensor, (n, V), float32
        """
        out = torch.empty(len(texts), self.model.config.vocab_size, device=self.model.device)
        for part, weights in self._passes(texts):
            out[part] = weights
        return out

    def _passes(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Tensor]]:
        """Yield which texts went through the model together, and their weights, (b, V); texts of like length meet."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens).input_ids
        order = np.argsort([len(i) for i in ids], kind="stable").tolist()
        room = max(1, LOGITS // self.model.config.vocab_size)  # padded tokens
        while order:
            longest = len(ids[order[-1]])
            part = order[-max(1, room // longest) :]
            del order[-len(part) :]
            mask = torch.zeros(len(part), longest, dtype=torch.int64)
            padded = torch.zeros_like(mask)
            for row, i in enumerate(part):
                padded[row, : len(ids[i])] = torch.tensor(ids[i])
                mask[row, : len(ids[i])] = 1
            yield part, self._weights(padded.to(self.model.device), mask.to(self.model.device))

    @torch.inference_mode()
    def _weights(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the largest logit over the real positions as log(1 + relu): (b, L) → (b, V)."""
        logits = self.model(input_ids=ids, attention_mask=mask).logits
        # log(1 + relu) grows with the logit, so the maximum may be taken first, which saves a pass over (b, L, V).
        largest = logits.masked_fill(mask[:, :, None] == 0, float("-inf")).amax(dim=1)
        return torch.log1p(torch.relu(largest.float()))


def load_splade(*, device: str | None = None) -> Splade:
    """Load the small trained SPLADE out of the packaged assets.

    Parameters
    ----------
    device : str, optional
        Default: a GPU if there is one, else the CPU.

    Returns
    -------
    Splade

    Raises
    ------
    AssetError
        If its files cannot be fetched.
    ValueError
        If the weights are not those of the configuration.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    config = BertConfig(**json.loads(asset_path("splade-config").read_text(encoding="utf-8")))
    settings = json.loads(asset_path("splade-tokenizer-config").read_text(encoding="utf-8"))
    special = {name: token for name, token in settings.items() if name.endswith("_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(asset_path("splade-tokenizer")), **special)
    model = BertForMaskedLM(config)
    found = {_renamed(name): tensor for name, tensor in load_file(asset_path("splade-weights")).items()}
    unmatched = model.load_state_dict(found, strict=False)
    tied = set(unmatched.missing_keys) - {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    if tied or unmatched.unexpected_keys:
        raise ValueError(f"the SPLADE weights do not fit their configuration: {[*tied, *unmatched.unexpected_keys][0]}")
    model.tie_weights()
    return Splade(move_to(model, device).eval().requires_grad_(False), tokenizer)


def _renamed(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"{module}.{OLD_NAMES.get(last, last)}"

"""Which embedders exist, as data, and what each takes to load."""

import difflib
import importlib.util
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import pandas as pd
import psutil  # comes with accelerate
import torch

from tokalign_helpers.models.hub import ADAPTER_PICKLE, PICKLE, PICKLE_INDEX
from tokalign_helpers.models.input_format import EOL, EOL_ABOUT, InputFormat
from tokalign_helpers.models.pooling import Pooling, last_token, mean, pooler_output, weighted_mean
from tokalign_helpers.models.published import SMOL

SHARE_ALIKE = "CC BY-SA 4.0 (adapter), Apache-2.0 (model)"
OPT_LICENSE = "OPT licence, research only"
LLAMA_LICENSE = "LLaMA licence, research only"
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
ASK = "Instruct: {instruction}\nQuery: {text}"
ASK_QWEN = "Instruct: {instruction}\nQuery:{text}"  # no space before the text
ASK_GRIT = "<|user|>\n{instruction}\n<|embed|>\n{text}"
ASK_INST = "[INST] {instruction} {text} [/INST]"
# PromptEOL in two other spellings, which make other embeddings: a space after the colon and none before it, ...
SPACED_EOL = 'This sentence: "{text}" means in one word: "'
SPACED_ABOUT = 'This sentence: "{text}" The {instruction} in one word: "'
OPEN_EOL = 'This sentence: "{text}" means in one word:'  # ... and without the quotation mark that opens the answer
MASKED = 'This sentence : "{text}" means [MASK].'

# Known to be pickled on the hub, in one file or in several: those rows consent to reading them.
PICKLES = (PICKLE, PICKLE_INDEX)


class Backbone(TypedDict):
    """What the rows of the table that share a backbone have in common; fields of :class:`EmbedderSpec`."""

    backbone: str
    parameters: int
    vocabulary: int
    width: int
    license: NotRequired[str]
    gated: NotRequired[bool]
    tied: NotRequired[bool]
    pickles: NotRequired[tuple[str, ...]]


class Weights(TypedDict):
    """The same of rows that read the same weights in different ways."""

    weights: str
    made_by: str
    raw: str
    unit_length: bool
    revision: str


# Backbones, with what their plan needs: parameters below the decoder layer, and that layer's V and d.
SMOL_135M: Backbone = {"backbone": SMOL, "parameters": 134_515_008, "vocabulary": 49_152, "width": 576}
GEMMA_270M: Backbone = {
    "backbone": "gemma-3-270m", "parameters": 268_098_176, "vocabulary": 262_144, "width": 640,
    "license": "Gemma Terms of Use", "tied": True, "gated": True,
}  # fmt: skip
SPLADE_4M: Backbone = {
    "backbone": "SPLADE-tiny-msmarco", "parameters": 4_416_698, "vocabulary": 30_522, "width": 128, "tied": True,
}  # fmt: skip
ADAPTED_135M: Backbone = SMOL_135M | {"license": SHARE_ALIKE}
NEO_125M: Backbone = {
    "backbone": "EleutherAI/gpt-neo-125m", "parameters": 125_198_592, "vocabulary": 50_257, "width": 768,
    "license": "MIT", "tied": True,
}  # fmt: skip
NEO_1B3: Backbone = NEO_125M | {"backbone": "EleutherAI/gpt-neo-1.3B", "parameters": 1_315_575_808, "width": 2048}
SGPT_125M: Backbone = NEO_125M | {"pickles": PICKLES}
SGPT_1B3: Backbone = NEO_1B3 | {"pickles": PICKLES}
OPT_125M: Backbone = {
    "backbone": "facebook/opt-125m", "parameters": 125_239_296, "vocabulary": 50_272, "width": 768,
    "license": OPT_LICENSE,
    "tied": True, "pickles": PICKLES,
}  # fmt: skip
OPT_350M: Backbone = OPT_125M | {"backbone": "facebook/opt-350m", "parameters": 331_196_416, "width": 512}
OPT_1B3: Backbone = OPT_125M | {"backbone": "facebook/opt-1.3b", "parameters": 1_315_758_080, "width": 2048}
LLAMA_7B: Backbone = {
    "backbone": "huggyllama/llama-7b", "parameters": 6_607_343_616, "vocabulary": 32_000, "width": 4096,
    "license": LLAMA_LICENSE,
}  # fmt: skip
MISTRAL_7B: Backbone = {
    "backbone": "mistralai/Mistral-7B-Instruct-v0.2", "parameters": 7_110_660_096, "vocabulary": 32_000, "width": 4096,
    "gated": True,
}  # fmt: skip
QWEN3_600M: Backbone = {
    "backbone": "Qwen/Qwen3-0.6B-Base", "parameters": 596_049_920, "vocabulary": 151_936, "width": 1024,
    "tied": True,
}  # fmt: skip
BERT: Backbone = {
    "backbone": "google-bert/bert-base-uncased", "parameters": 109_482_240, "vocabulary": 30_522, "width": 768,
    "tied": True,
}  # fmt: skip
MPNET: Backbone = {
    "backbone": "microsoft/mpnet-base", "parameters": 109_486_464, "vocabulary": 30_527, "width": 768,
    "license": "MIT", "tied": True, "pickles": PICKLES,
}  # fmt: skip
GRITLM_7B: Backbone = MISTRAL_7B | {"backbone": "GritLM/GritLM-7B", "gated": False}
GRITLM = InputFormat(
    template="<|embed|>\n{text}", instruction_format=ASK_GRIT, max_length=512,
    query_template=ASK_GRIT.replace("{instruction}", WEB_SEARCH), span="text", attention="full",
)  # fmt: skip
MNTP = "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp"
LLM2VEC = InputFormat(
    template="[INST] {text} [/INST]", instruction_format=ASK_INST, span="text", attention="full",
    query_template=ASK_INST.replace("{instruction}", f"{WEB_SEARCH}:"), max_tokens=400, max_length=512,
)  # fmt: skip
LLM2VEC_7B: Backbone = MISTRAL_7B | {"license": "MIT (adapters), Apache-2.0 (model)"}
PROMPT_EOL = InputFormat(template=EOL, instruction_format=EOL_ABOUT)
LLAMA_EOL = replace(PROMPT_EOL, brackets=("<s>", ""))
SPACED = InputFormat(template=SPACED_EOL, instruction_format=SPACED_ABOUT)
NLI = InputFormat(max_length=75)
MSMARCO = InputFormat(max_length=300)
SPECB = replace(MSMARCO, brackets=("{", "}"), query_brackets=("[", "]"))
E5_MISTRAL_7B: Backbone = MISTRAL_7B | {"backbone": "mistralai/Mistral-7B-v0.1"}
E5_MISTRAL = InputFormat(
    brackets=("<s>", "</s>"), instruction_format=ASK, query_template=ASK.replace("{instruction}", WEB_SEARCH)
)  # fmt: skip
QWEN3 = InputFormat(
    brackets=("", "<|endoftext|>"), instruction_format=ASK_QWEN,
    query_template=ASK_QWEN.replace("{instruction}", WEB_SEARCH),
)  # fmt: skip
E5 = InputFormat(template="query: {text}")
E5_PASSAGES = InputFormat(template="passage: {text}", query_template="query: {text}")
E5_BASE: Weights = {
    "weights": "intfloat/e5-base-v2", "made_by": "contrastive", "raw": "bert-mean", "unit_length": True,
    "revision": "1c644c92ad3ba1efdad3f1451a637716616a20e8",
}  # fmt: skip
PROMPT_BERT = InputFormat(template=MASKED, span="mask")


@dataclass(frozen=True)
class EmbedderSpec:
    """What defines an embedder: a row of the table below, never a branch in the code.

    Parameters
    ----------
    name : str
        What to call the embedder.
    backbone : str
        The LLM whose decoder layer reads the embeddings: a name on the hub, or a local folder.
    pooling : Pooling
        How its vector is made from the states of the tokens.
    input_format : InputFormat
        How a text is read.
    adapters : tuple[str, ...]
        PEFT adapters, merged one after another: those of ``data/adapters`` by their bare names, local folders, or names
        on the hub, which may end in ``@`` and a revision.
    made_by : str
        ``as it is``, ``prompt``, ``contrastive``, ``prompt + contrastive``, …
    license : str
        The licence of its weights.
    weights : str
        The embedder's own weights. Empty: the backbone's.
    raw : str
        The embedder of this table that it was before training: f of this f̂.
    revision : str
        Of the weights and the adapters on the hub.
    backbone_revision : str
        Branch, tag or commit of the backbone on the hub.
    gated : bool
        Whether terms must be accepted before the download.
    parameters, vocabulary, width : int
        Parameters below the decoder layer; V and d of that layer.
    tied : bool
        Whether the backbone's decoder layer is its matrix of token embeddings, so that one copy serves as both.
    pickles : tuple[str, ...]
        Names of pickled files that may be read where there are no safetensors, such as ``pytorch_model.bin``. A row
        of this table names those that its makers are known to have published.
    unit_length : bool
        Whether its makers scale each vector to length 1.
    """

    name: str
    backbone: str
    pooling: Pooling
    input_format: InputFormat = InputFormat()
    adapters: tuple[str, ...] = ()
    made_by: str = "as it is"
    license: str = "Apache-2.0"
    weights: str = ""
    raw: str = ""
    revision: str = "main"
    backbone_revision: str = "main"
    gated: bool = False
    parameters: int = 0
    vocabulary: int = 0
    width: int = 0
    tied: bool = False
    pickles: tuple[str, ...] = ()
    unit_length: bool = False

    @property
    def template(self) -> str:
        """The prompt; ``{text}`` stands for the text."""
        return self.input_format.template

    @property
    def attention(self) -> str:
        """In which directions the model attends; see :class:`InputFormat`."""
        return self.input_format.attention

    @property
    def packaged(self) -> bool:
        """Whether it comes with the course: weights of one's own on the course's backbone do not."""
        return self.backbone == SMOL and not self.weights

    def bytes(self, dtype: str) -> int:
        """Return the memory that the weights take, the decoder layer read beside them included.

        Parameters
        ----------
        dtype : str
            A key of :data:`DTYPES`. In ``4bit`` the token embeddings and the decoder layer stay at 16 bits.

        Returns
        -------
        int
        """
        layer = self.vocabulary * self.width
        beside = 0 if self.packaged or (self.tied and not self.weights) else layer
        if dtype == "4bit":
            return int((self.parameters - layer) * DTYPES[dtype] + 2 * (layer + beside))
        return int((self.parameters + beside) * DTYPES[dtype])


DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2, "4bit": 0.56}  # bytes for each parameter; 4 bits and their scales
WORKING = 1 << 30  # for hidden states and scores

EMBEDDERS: dict[str, EmbedderSpec] = {
    spec.name: spec
    for spec in (
        EmbedderSpec("smol-last", pooling=last_token, **SMOL_135M),
        EmbedderSpec("smol-mean", pooling=mean, **SMOL_135M),
        EmbedderSpec("smol-wmean", pooling=weighted_mean, **SMOL_135M),
        EmbedderSpec(
            "smol-eol", pooling=last_token, input_format=PROMPT_EOL, made_by="prompt", **SMOL_135M
        ),
        EmbedderSpec(
            "smol-eol-spaced", pooling=last_token, input_format=SPACED, made_by="prompt", **SMOL_135M,
        ),
        EmbedderSpec(
            "smol-eol-open", pooling=last_token, input_format=InputFormat(template=OPEN_EOL), made_by="prompt",
            **SMOL_135M,
        ),
        EmbedderSpec(
            "smol-cse", pooling=weighted_mean, adapters=("smol-cse",), made_by="contrastive", raw="smol-wmean",
            **ADAPTED_135M,
        ),
        EmbedderSpec(
            "smol-sim", pooling=last_token, input_format=PROMPT_EOL, adapters=("smol-sim",),
            made_by="prompt + contrastive", raw="smol-eol", **ADAPTED_135M,
        ),
        EmbedderSpec(
            "smol-rel", pooling=last_token, input_format=PROMPT_EOL, adapters=("smol-rel",),
            made_by="prompt + contrastive", raw="smol-eol", **ADAPTED_135M,
        ),
        EmbedderSpec(
            "smol-distil", pooling=last_token, input_format=PROMPT_EOL, adapters=("smol-distil",),
            made_by="prompt + contrastive + distilled", raw="smol-eol", **ADAPTED_135M,
        ),
        EmbedderSpec(  # trained to be asked: load_embedder("smol-asked").with_instruction("topic")
            "smol-asked", pooling=last_token, input_format=PROMPT_EOL, adapters=("smol-asked",),
            made_by="prompt + contrastive", raw="smol-eol", **ADAPTED_135M,
        ),
        # An encoder that others trained for sparse search; its masked-LM head reads the mean of its states.
        EmbedderSpec("splade-tiny", pooling=mean, input_format=InputFormat(max_length=256), **SPLADE_4M),
        # Another family, for those who agree to its terms: python -m tokalign_helpers fetch gemma.
        EmbedderSpec("gemma-last", pooling=last_token, **GEMMA_270M),
        EmbedderSpec("gemma-mean", pooling=mean, **GEMMA_270M),
        EmbedderSpec("gemma-wmean", pooling=weighted_mean, **GEMMA_270M),
        EmbedderSpec(
            "gemma-eol", pooling=last_token, input_format=PROMPT_EOL, made_by="prompt", raw="gemma-last", **GEMMA_270M
        ),
        EmbedderSpec(  # its adapter is not shipped: python -m tokalign_helpers.training gemma-rel --data .
            "gemma-rel", pooling=last_token, input_format=PROMPT_EOL, adapters=("gemma-rel",),
            made_by="prompt + contrastive", raw="gemma-eol", **GEMMA_270M,
        ),
        # The paper's eight, and the backbones as they are.
        EmbedderSpec("gpt-neo-1.3b", pooling=weighted_mean, **NEO_1B3),
        EmbedderSpec(
            "sgpt-nli", pooling=weighted_mean, weights="Muennighoff/SGPT-1.3B-weightedmean-nli", input_format=NLI,
            made_by="contrastive", raw="gpt-neo-1.3b", **SGPT_1B3,
        ),
        EmbedderSpec(
            "sgpt-msmarco", pooling=weighted_mean, weights="Muennighoff/SGPT-1.3B-weightedmean-msmarco-specb-bitfit",
            input_format=SPECB, made_by="contrastive", raw="gpt-neo-1.3b", **SGPT_1B3,
        ),
        EmbedderSpec(  # as the paper's authors read it
            "sgpt-msmarco-plain", pooling=weighted_mean, input_format=MSMARCO, made_by="contrastive",
            weights="Muennighoff/SGPT-1.3B-weightedmean-msmarco-specb-bitfit", raw="gpt-neo-1.3b", **SGPT_1B3,
        ),
        EmbedderSpec("opt-1.3b", pooling=last_token, **OPT_1B3),
        EmbedderSpec(
            "opt-eol", pooling=last_token, input_format=PROMPT_EOL, made_by="prompt", raw="opt-1.3b", **OPT_1B3
        ),
        EmbedderSpec(
            "opt-eol-cse", pooling=last_token, input_format=PROMPT_EOL, adapters=("royokong/prompteol-opt-1.3b",),
            made_by="prompt + contrastive", raw="opt-eol", **OPT_1B3 | {"pickles": (*PICKLES, ADAPTER_PICKLE)},
        ),
        EmbedderSpec("llama-7b", pooling=last_token, input_format=InputFormat(brackets=("<s>", "")), **LLAMA_7B),
        EmbedderSpec(
            "llama-eol", pooling=last_token, input_format=LLAMA_EOL, made_by="prompt", raw="llama-7b", **LLAMA_7B
        ),
        EmbedderSpec(
            "llama-eol-cse", pooling=last_token, input_format=LLAMA_EOL, adapters=("royokong/prompteol-llama-7b",),
            made_by="prompt + contrastive", raw="llama-eol", **LLAMA_7B | {"pickles": (ADAPTER_PICKLE,)},
        ),
        EmbedderSpec(  # as the paper's authors read it: through GritLM's wrapper, which is causal here
            "mistral-7b", pooling=mean, input_format=replace(GRITLM, attention="causal"), unit_length=True,
            **MISTRAL_7B,
        ),
        EmbedderSpec(
            "gritlm", pooling=mean, input_format=GRITLM, made_by="contrastive + next token", raw="mistral-7b",
            backbone_revision="13f00a0e36500c80ce12870ea513846a066004af", unit_length=True, **GRITLM_7B,
        ),
        EmbedderSpec(
            "mistral-7b-inst", pooling=mean, input_format=replace(LLM2VEC, attention="causal"), **MISTRAL_7B
        ),
        EmbedderSpec(
            "llm2vec", pooling=mean, made_by="masked tokens + contrastive", raw="mistral-7b-inst",
            adapters=(MNTP, f"{MNTP}-supervised@0ae69bdd5816105778b971c3138e8f8a18eaa3ae"), input_format=LLM2VEC,
            **LLM2VEC_7B,
        ),
        EmbedderSpec(
            "llm2vec-unsup", pooling=mean, made_by="masked tokens + contrastive", raw="mistral-7b-inst",
            adapters=(MNTP, f"{MNTP}-unsup-simcse@2c055a5d77126c0d3dc6cd8ffa30e2908f4f45f8"), input_format=LLM2VEC,
            **LLM2VEC_7B,
        ),
        EmbedderSpec(
            "mistral-7b-v0.1", pooling=last_token, input_format=E5_MISTRAL, unit_length=True, **E5_MISTRAL_7B
        ),
        EmbedderSpec(
            "e5-mistral", pooling=last_token, weights="intfloat/e5-mistral-7b-instruct", made_by="contrastive",
            revision="07163b72af1488142a360786df853f237b1a3ca1", raw="mistral-7b-v0.1", input_format=E5_MISTRAL,
            unit_length=True, **E5_MISTRAL_7B | {"license": "MIT"},
        ),
        # Smaller relatives, for a free GPU or a CPU.
        EmbedderSpec("gpt-neo-125m", pooling=weighted_mean, **NEO_125M),
        EmbedderSpec(
            "sgpt-125m-nli", pooling=weighted_mean, weights="Muennighoff/SGPT-125M-weightedmean-nli-bitfit",
            input_format=NLI, made_by="contrastive", raw="gpt-neo-125m", **SGPT_125M,
        ),
        EmbedderSpec(
            "sgpt-125m-msmarco", pooling=weighted_mean,
            weights="Muennighoff/SGPT-125M-weightedmean-msmarco-specb-bitfit", input_format=SPECB,
            made_by="contrastive", raw="gpt-neo-125m", **SGPT_125M,
        ),
        EmbedderSpec("opt-125m", pooling=last_token, **OPT_125M),
        EmbedderSpec(
            "opt-125m-eol", pooling=last_token, input_format=PROMPT_EOL, made_by="prompt", raw="opt-125m", **OPT_125M
        ),
        EmbedderSpec("opt-350m", pooling=last_token, **OPT_350M),
        EmbedderSpec(
            "opt-350m-eol", pooling=last_token, input_format=PROMPT_EOL, made_by="prompt", raw="opt-350m", **OPT_350M
        ),
        EmbedderSpec("qwen3-0.6b", pooling=last_token, **QWEN3_600M),
        EmbedderSpec(
            "qwen3-embedding", pooling=last_token, weights="Qwen/Qwen3-Embedding-0.6B", made_by="contrastive",
            revision="b22da495047858cce924d27d76261e96be6febc0", raw="qwen3-0.6b", input_format=QWEN3,
            unit_length=True, **QWEN3_600M,
        ),
        # Encoders, which decode through their own masked-LM head.
        EmbedderSpec("bert-cls", pooling=pooler_output, **BERT),
        EmbedderSpec("bert-mean", pooling=mean, **BERT),
        EmbedderSpec(
            "prompt-bert", pooling=mean, input_format=PROMPT_BERT, made_by="prompt", raw="bert-cls", **BERT
        ),
        EmbedderSpec(
            "prompt-bert-cse", pooling=mean, input_format=PROMPT_BERT, weights="royokong/sup-PromptBERT",
            made_by="prompt + contrastive", raw="prompt-bert", **BERT | {"license": "unstated", "pickles": PICKLES},
        ),
        EmbedderSpec(
            "simcse", pooling=pooler_output, weights="princeton-nlp/sup-simcse-bert-base-uncased",
            made_by="contrastive", raw="bert-cls", **BERT | {"license": "MIT", "pickles": PICKLES},
        ),
        EmbedderSpec("e5", pooling=mean, input_format=E5, **E5_BASE, **BERT | {"license": "MIT"}),
        EmbedderSpec("e5-passages", pooling=mean, input_format=E5_PASSAGES, **E5_BASE, **BERT | {"license": "MIT"}),
        EmbedderSpec("mpnet-mean", pooling=mean, **MPNET),
        EmbedderSpec(
            "all-mpnet", pooling=mean, weights="sentence-transformers/all-mpnet-base-v2", made_by="contrastive",
            revision="9a3225965996d404b775526de6dbfe85d3368642", raw="mpnet-mean", unit_length=True,
            input_format=InputFormat(max_length=384), **MPNET | {"license": "Apache-2.0"},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class LoadingPlan:
    """What loading an embedder would need on this machine.

    Parameters
    ----------
    name : str
        The embedder's name.
    device : str
        Such as ``cpu`` or ``cuda``.
    dtype : str
        The best of :data:`DTYPES` that fits; where none does, the smallest.
    needed, free : int
        Bytes.
    instead : str
        What to choose where it does not fit. Empty: nothing in the table does.
    """

    name: str
    device: str
    dtype: str
    needed: int
    free: int
    instead: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.needed <= self.free

    def __str__(self) -> str:
        room = f"{self.needed / 1e9:.1f} GB as {self.dtype} on {self.device}, {self.free / 1e9:.1f} GB are free"
        if self.fits:
            return f"{self.name} takes {room}"
        if not self.instead:
            return f"{self.name} needs {room}, too little for any embedder; free memory, or use a machine with more"
        return f"{self.name} needs {room}; choose {self.instead} instead, or a machine with more memory"


def plan_loading(
    embedder: str | EmbedderSpec, dtype: str | None = None, device: str | None = None, free: int | None = None
) -> LoadingPlan:
    """Estimate what an embedder needs before anything is loaded.

    Parameters
    ----------
    embedder : str or EmbedderSpec
        A name in :data:`EMBEDDERS`, or a row of your own.
    dtype : str, optional
        A key of :data:`DTYPES`. Default: the most exact one that fits.
    device : str, optional
        Default: a GPU if there is one, else the CPU.
    free : int, optional
        Bytes to assume. Default: what is free now.

    Returns
    -------
    LoadingPlan

    Raises
    ------
    ValueError
        If the embedder or the dtype is unknown.
    """
    spec = embedder if isinstance(embedder, EmbedderSpec) else spec_of(embedder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    free = _free_bytes(device) if free is None else free
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
    known = [dtype] if dtype else _dtypes(device)
    needed = {name: spec.bytes(name) + WORKING for name in known}
    best = next((name for name in known if needed[name] <= free), known[-1])
    instead = "" if needed[best] <= free else _that_fits(spec, known[-1], free)
    return LoadingPlan(spec.name, device, best, needed[best], free, instead)


def _dtypes(device: str) -> list[str]:
    if not device.startswith("cuda"):
        return ["float32", "bfloat16"]
    half = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float16"
    return ["float32", half, *(["4bit"] if importlib.util.find_spec("bitsandbytes") else [])]


def _free_bytes(device: str) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else psutil.virtual_memory().available


def _that_fits(spec: EmbedderSpec, dtype: str, free: int) -> str:
    """Name the largest embedder that fits, of those made most alike; empty where none fits."""
    ways = set(spec.made_by.split(" + "))
    fitting = [s for s in EMBEDDERS.values() if s.bytes(dtype) + WORKING <= free]
    alike = {s.name: (-len(ways ^ set(s.made_by.split(" + "))), s.parameters) for s in fitting}
    return max(alike, key=alike.__getitem__, default="")


def embedder_table(*, free: int | None = None) -> pd.DataFrame:
    """Return every embedder of the table with what it takes, as ``python -m tokalign_helpers list`` prints it.

    Parameters
    ----------
    free : int, optional
        Bytes to plan with. Default: what is free now.

    Returns
    -------
    DataFrame
        ``embedder``, ``made from``, ``made by``, ``float32``, ``16 bits``, ``4 bits`` (GB), ``licence``, ``here``.
    """
    rows = []
    for spec in EMBEDDERS.values():
        chosen = plan_loading(spec, free=free)
        sizes = [f"{spec.bytes(dtype) / 1e9:.1f}" for dtype in ("float32", "bfloat16", "4bit")]
        licence = spec.license + (", gated" if spec.gated else "")
        here = f"yes, {chosen.dtype}" if chosen.fits else f"no, needs {chosen.needed / 1e9:.1f} GB"
        rows.append((spec.name, spec.backbone, spec.made_by, *sizes, licence, here))
    return pd.DataFrame(
        rows, columns=["embedder", "made from", "made by", "float32", "16 bits", "4 bits", "licence", "here"]
    )


def spec_of(name: str) -> EmbedderSpec:
    """Return a row of :data:`EMBEDDERS`.

    Parameters
    ----------
    name : str
        A name in :data:`~tokalign_helpers.models.embedders.EMBEDDERS`.

    Returns
    -------
    EmbedderSpec

    Raises
    ------
    ValueError
        If there is no row of that name; the message suggests the nearest.
    """
    if name in EMBEDDERS:
        return EMBEDDERS[name]
    near = difflib.get_close_matches(name, EMBEDDERS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ValueError(
        f"unknown embedder {name!r}{hint} A name on the hub is written owner/name. Known: {', '.join(EMBEDDERS)}"
    )

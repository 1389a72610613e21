"""How a text is read: the prompt around it, its limits, which positions are pooled, where the model looks.

One value, :class:`InputFormat`, is shared by an embedder, its row in the table, its cache key and its shared passes.
"""

from dataclasses import asdict, dataclass, replace

from tokalign_helpers.basics.checks import lone_surrogate, whole_number

SLOT = "{text}"
ASKED = "{instruction}"
# PromptEOL as its authors spell it (Jiang et al. 2023): a space before the colon, none after it. Each space counts.
EOL = f'This sentence : "{SLOT}" means in one word:"'
EOL_ABOUT = f'This sentence : "{SLOT}" The {ASKED} in one word:"'  # asked after the text, next to the answer
SPANS = ("all", "text", "rest", "mask")
ATTENTIONS = ("causal", "full")


@dataclass(frozen=True)
class InputFormat:
    """How a text is prepared, and how a model reads it.

    Parameters
    ----------
    template : str
        The prompt; ``{text}`` stands for the text, once. Other braces are ordinary characters. A mark at its beginning
        or end that the tokenizer sets there itself, such as ``<s>``, is not set twice.
    max_tokens : int
        A longer text is cut to this many tokens, or fewer where the prompt leaves less room in what the model reads.
        The cut falls between two characters; only where the first one alone has more tokens than that, inside it. The
        template is never cut.
    max_length : int
        The most tokens that the model reads at once, template and special tokens included. 0: as many as it can.
    span : str
        Which positions the pooling sees. ``all``; ``text``: those from the text on, not the instruction before it;
        ``rest``: those after as many tokens as precede an empty text, which is how
        sentence-transformers leaves a prompt out; ``mask``: only that of the tokenizer's mask token, which the template
        holds.
    attention : str
        ``causal``: as the model was built (for an encoder: in both directions). ``full``: every token sees every other.
    brackets : tuple[str, str]
        Tokens set before and after what the model reads, each empty or a single token; a special token that the
        tokenizer sets there itself is not set twice.
    query_template : str
        The prompt of a search query, where it differs from that of a document.
    query_brackets : tuple[str, str]
        The same for the brackets; both empty: as those of a document.
    instruction_format : str
        How the embedder is asked for something: holds ``{instruction}`` and ``{text}``. Empty if it cannot be asked.

    Raises
    ------
    ValueError
        If a template does not contain ``{text}`` exactly once, a number is out of range, or a word is unknown.
    """

    template: str = SLOT
    max_tokens: int = 512
    max_length: int = 0
    span: str = "all"
    attention: str = "causal"
    brackets: tuple[str, str] = ("", "")
    query_template: str = ""
    query_brackets: tuple[str, str] = ("", "")
    instruction_format: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_tokens", whole_number(self.max_tokens, "max_tokens"))
        object.__setattr__(self, "max_length", whole_number(self.max_length, "max_length", 0))
        for template in (self.template, self.query_template or SLOT, self.instruction_format or SLOT):
            _check_template(template)
        if self.span not in SPANS or self.attention not in ATTENTIONS:
            raise ValueError(f"span is one of {SPANS} and attention of {ATTENTIONS}; got {(self.span, self.attention)}")
        for name in ("brackets", "query_brackets"):
            object.__setattr__(self, name, _pair(getattr(self, name), name))

    def parts(self) -> dict[str, str | int | list[str]]:
        """Return every field by its name, as values that JSON can hold: what a key is made of."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def around(self) -> tuple[str, str]:
        """What the template has before the text, and after it."""
        before, after = self.template.split(SLOT)
        return before, after

    @property
    def for_queries(self) -> "InputFormat":
        """The format for search queries; this same value where they are read as documents are."""
        if not self.query_template and not any(self.query_brackets):
            return self
        brackets = self.query_brackets if any(self.query_brackets) else self.brackets
        return replace(self, template=self.query_template or self.template, brackets=brackets)

    def asked(self, instruction: str) -> "InputFormat":
        """Return the format with an instruction filled in.

        Parameters
        ----------
        instruction : str
            What to ask for, such as ``topic``.

        Returns
        -------
        InputFormat

        Raises
        ------
        ValueError
            If this format takes no instruction.
        """
        if ASKED not in self.instruction_format:
            raise ValueError("this format takes no instruction")
        filled = self.instruction_format.replace(ASKED, instruction.replace(SLOT, "text"))
        return replace(self, template=filled)


def _check_template(template: str) -> None:
    if (place := lone_surrogate(template)) is not None:
        raise ValueError(f"the template {template!r} holds a lone surrogate at character {place}")
    if template.count(SLOT) != 1:
        raise ValueError(f"the template {template!r} must contain {SLOT} exactly once")


def _pair(brackets: tuple[str, str], name: str) -> tuple[str, str]:
    pair = tuple(brackets)
    if isinstance(brackets, str) or len(pair) != 2 or not all(isinstance(bracket, str) for bracket in pair):
        raise ValueError(f"{name} is {brackets!r}; give two strings, the one before and the one after")
    return pair

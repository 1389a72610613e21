"""Checks of input and output: whole numbers, texts and characters, in one place for the whole package."""

import operator
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import SupportsIndex, TypeGuard, cast

# Controls, marks that change how their neighbours are drawn, private characters, halves of characters, line breaks,
# and spaces that look like nothing or like the plain one.
UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
JOINERS = "\n\t\u200c\u200d"  # what a text needs: its lines, and the joiners of Persian words and of emoji


def whole_number(value: object, name: str, least: int = 1, most: int | None = None, *, called: str = "") -> int:
    """Return a number as int, or refuse it.

    Parameters
    ----------
    value : object
        An int, or its equivalent, such as ``np.int64(3)``; not True or 3.0.
    name : str
        Of the argument, for the message.
    least : int
        The smallest number allowed.
    most : int, optional
        The largest number allowed.
    called : str
        What `most` is called, such as ``V``.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is not a whole number or out of range.
    """
    is_truth = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "torch.bool"  # which counts as an index
    try:
        number = None if is_truth else operator.index(cast(SupportsIndex, value))  # whatever is none raises TypeError
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f", {least} or more" if most is None else f" from {least} to {f'{called} = ' if called else ''}{most}"
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number{bounds}")
    return number


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is an int or a float of Python, and no truth value.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Write a value in one short line, for a message.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    str
    """
    return " ".join(map(str.strip, reprlib.repr(value).splitlines()))


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list; refuse anything but an ordered, non-empty collection of non-blank strings.

    Parameters
    ----------
    texts : Iterable[str]
        A list, a tuple, a column of a table, an array, or an iterator, which is read once.

    Returns
    -------
    list[str]

    Raises
    ------
    TypeError
        If `texts` is one string, bytes, a table, a mapping or a set, or holds something that is not a string.
    ValueError
        If `texts` is empty, or one of them is blank or holds half a character.
    """
    texts = list(_ordered(texts))
    if not texts:
        raise ValueError("texts is empty; give at least one text")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] is {shown(text)}; every text must be a str")
        if not text.strip():
            raise ValueError(f"texts[{position}] is {shown(text)}, which has no tokens; leave blank texts out")
        if (place := lone_surrogate(text)) is not None:
            raise ValueError(
                f"texts[{position}] holds a lone surrogate ({text[place]!r}) at character {place}; "
                "replace it first, with text.encode('utf-8', 'replace').decode()"
            )
    return texts


def _ordered(texts: Iterable[str]) -> Iterator[str]:
    """Refuse iterables that do not yield texts, or not in a defined order."""
    kind = type(texts).__name__
    if isinstance(texts, str):
        raise TypeError(f"texts is one string; put it in a list: [{texts[:30]!r}]")
    if isinstance(texts, bytes | bytearray):
        raise TypeError(f"texts is {kind}; decode it and put it in a list: [texts.decode()]")
    if hasattr(texts, "columns"):
        raise TypeError(f"texts is a {kind}; give one of its columns, such as texts['text']")
    if isinstance(texts, Mapping):
        raise TypeError(f"texts is a {kind}; give its values in a list: list(texts.values())")
    if isinstance(texts, set | frozenset):
        raise TypeError(f"texts is a {kind}, which has no order; give a list, such as sorted(texts)")
    try:
        return iter(texts)
    except TypeError:
        raise TypeError(f"texts is {shown(texts)}; give a list of str") from None


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return a text that can be shown anywhere: characters that cannot be seen are named, such as ``\u202e``.

    A stored escape sequence would otherwise reach the terminal, and a mark for right-to-left writing would reverse
    what follows it.

    Parameters
    ----------
    text : str
        Any text.
    keep : str
        Characters that stay as they are; :data:`JOINERS` for a text, nothing for a token.

    Returns
    -------
    str
    """
    if text.isprintable():
        return text
    kept = f" {keep}"
    return "".join(c if c in kept or unicodedata.category(c) not in UNSEEN else repr(c)[1:-1] for c in text)


def lone_surrogate(text: str) -> int | None:
    """Return the position of a lone surrogate, half a character, which cannot be written as UTF-8.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    int, or None
        The position of the first; None if all characters are whole.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def first_line(error: BaseException, longest: int = 120) -> str:
    """Return another library's error message in one line, for a message of ours; the error's name where it is empty.

    Parameters
    ----------
    error : BaseException
        The error of another library.
    longest : int
        Characters.

    Returns
    -------
    str
    """
    first, *rest = (str(error).strip() or type(error).__name__).splitlines()
    announced = rest[0].strip() if first.endswith(":") and rest else ""  # what is wrong stands after the colon
    return f"{first} {announced}".strip()[:longest]


@contextmanager
def one_line(said: str, kind: type[Exception] = ValueError) -> Iterator[None]:
    """Turn any error of a library in the block into one line of ours: odd files make it raise errors of every kind.

    Parameters
    ----------
    said : str
        What went wrong; the library's error follows in brackets.
    kind : type[Exception]
        Of the error that is raised instead.
    """
    try:
        yield
    except Exception as error:
        why = first_line(error)
        named = why if why.startswith(type(error).__name__) else f"{type(error).__name__}: {why}"
        raise kind(f"{said} ({named})") from error

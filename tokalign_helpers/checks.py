"""What comes in and what goes out: whole numbers and characters, looked at once for the whole package."""

import operator
import reprlib
import unicodedata

# Controls, marks that change how their neighbours are drawn, private characters, halves of characters, line breaks,
# and spaces that look like nothing or like the plain one.
UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
JOINERS = "\n\t\u200c\u200d"  # what a text needs: its lines, and the joiners of Persian words and of emoji


def whole_number(value: object, name: str, least: int = 1, most: int | None = None, *, called: str = "") -> int:
    """Return a number as int, or refuse it.

    Parameters
    ----------
    value : object
        An int, or what stands for one, such as ``np.int64(3)``; True and 3.0 do not.
    name : str
        Of the argument, for the message.
    least : int
    most : int, optional
    called : str
        What `most` is, such as ``V``.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no whole number or out of range.
    """
    is_truth = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "torch.bool"  # which counts as an index
    try:
        number = None if is_truth else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f", {least} or more" if most is None else f" from {least} to {f'{called} = ' if called else ''}{most}"
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number{bounds}")
    return number


def shown(value: object) -> str:
    """Write a value in one short line, for a message.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
    """
    return " ".join(map(str.strip, reprlib.repr(value).splitlines()))


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return a text that can be shown anywhere: characters that cannot be seen are named, such as ``\u202e``.

    A stored escape sequence would otherwise reach the terminal, and a mark for right-to-left writing would turn round
    what stands after it.

    Parameters
    ----------
    text : str
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
    """Return where a text holds half of a character, which cannot be written as UTF-8.

    Parameters
    ----------
    text : str

    Returns
    -------
    int, or None
        The place of the first; None if all characters are whole.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def first_line(error: BaseException, longest: int = 120) -> str:
    """Return what an error of somebody else says, in one line for a message of ours; its name where it says nothing.

    Parameters
    ----------
    error : BaseException
    longest : int
        Characters.

    Returns
    -------
    str
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:longest]

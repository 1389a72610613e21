"""Text files read line by line, so that an error can name the line. Imports nothing else of the package.

A line ends at a line feed, or at a carriage return and a line feed, and nowhere else. U+2028, U+0085 and similar are
characters of a text, at which ``str.splitlines`` would cut it. A byte order mark is not part of the first line.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@contextmanager
def naming_line(file: str | Path, line: int) -> Iterator[None]:
    """Turn an error in the block into one that names file and line.

    Parameters
    ----------
    file : str or Path
        The file that is being read.
    line : int
        From 1.

    Raises
    ------
    ValueError
        In place of a ValueError, TypeError or LookupError.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{file}, line {line}: {error}") from error


def lines(file: str | Path, *, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank.

    Parameters
    ----------
    file : str or Path
        The text file.
    encoding : str
        One in which the byte 10 is a line feed and nothing else.

    Yields
    ------
    number : int
        Of the line, from 1; blank ones count.
    line : str
        Without its end.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is not of that encoding; the message names file and line.
    """
    for number, line in _whole_lines(file, encoding):
        if line.strip():
            yield number, line.removesuffix("\n").removesuffix("\r")


def json_lines(file: str | Path) -> Iterator[tuple[int, dict]]:
    """Yield the objects of a file that holds one JSON object on each line.

    Parameters
    ----------
    file : str or Path
        The text file.

    Yields
    ------
    number : int
        Of the line, from 1.
    row : dict

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`lines`; or if a line is not a JSON object.
    """
    for number, line in lines(file):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise ValueError(f"{file}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{file}, line {number}: {line[:60]!r} is not a JSON object")
        yield number, row


def csv_rows(file: str | Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file with a line of column names.

    Parameters
    ----------
    file : str or Path
        Fields are separated by commas; one in quotation marks may hold commas and line ends.
    columns : Sequence[str]
        Those that must be there; more are allowed.

    Yields
    ------
    number : int
        Of the line on which the row begins, from 1.
    row : dict[str, str]
        By column.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`lines`; or if a column is missing or occurs twice, or a row has more or fewer fields than there are
        columns.
    """
    numbered = _csv_fields(file)
    number, names = next(numbered, (1, []))
    with naming_line(file, number):
        for name in [*columns, *names]:
            if names.count(name) != 1:
                raise ValueError(f"there is {'no' if name not in names else 'more than one'} column {name!r}")
    for number, fields in numbered:
        if len(fields) != len(names):
            raise ValueError(f"{file}, line {number}: fields in the row: {len(fields)}, columns: {len(names)}")
        yield number, dict(zip(names, fields, strict=True))


def as_number(text: str) -> float:
    """Return the number that a field holds.

    Parameters
    ----------
    text : str
        The field.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a number, or something else that ``float`` takes for one: ``nan``, ``inf``, ``1_000``.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def _csv_fields(file: str | Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in _whole_lines(file, "utf-8")), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{file}, line {first}: not CSV ({error})") from error
        if fields is None:
            return
        if any(field.strip() for field in fields):
            yield first, fields


def _whole_lines(file: str | Path, encoding: str) -> Iterator[tuple[int, str]]:
    with Path(file).open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(f"{file}, line {number}: not {encoding} ({error.reason})") from error
            yield number, line.removeprefix("\ufeff") if number == 1 else line

"""Questions of the notebooks: check, hint, solution, from one source; and a quiz. One module for each notebook."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LEVELS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Question:
    """One exercise.

    Parameters
    ----------
    task : str
        What the notebook asks, word for word.
    judge : Callable
        Takes the answer; returns None when it is right, else what is wrong with it: the case tried, the expected value,
        the value found.
    clue : str
        A hint that does not give the answer away.
    answer : str
        A right answer in Python, with the names of the notebook: pasted into the cell, it passes. Tests run it.
    why : str
        Shown after a right answer.
    name : str
        The variable or function of the notebook's cell that is checked.
    level : str
        How difficult it is, of :data:`LEVELS`: one step that the notebook has just shown, two or three of them, or a
        thought that it does not spell out.
    wrong : tuple[str, ...]
        Two or more pieces of Python with typical wrong answers under that name. Tests run them: each must fail.
    """

    task: str
    judge: Callable[[Any], str | None]
    clue: str
    answer: str
    why: str
    name: str = "answer"
    level: str = "medium"
    wrong: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse a level that is none."""
        if self.level not in LEVELS:
            raise ValueError(f"unknown level {self.level!r}; known: {', '.join(LEVELS)}")

    def check(self, answer: Any) -> None:
        """Return whether an answer is right, and if not, why not. Never raises.

        Parameters
        ----------
        answer : Any
            ``...`` when it is not written yet.
        """
        if answer is ...:
            print(f"Not answered yet ({self.level}). Replace the ... and run the cell again; .hint() helps.")
            return
        try:
            problem = self.judge(answer)
        except Exception as error:  # a reader's own function may raise anything
            problem = " ".join(f"your answer stopped with {type(error).__name__}: {error}".split())
        print(f"✗ Not yet: {problem}" if problem else f"✓ Right. {self.why}")

    def hint(self) -> None:
        """Print the hint."""
        print(self.clue)

    def solution(self) -> None:
        """Print a right answer."""
        print(self.answer)


def choice(right: str, explained: dict[str, str]) -> Callable[[Any], str | None]:
    """Make the judge of a question with lettered answers.

    Parameters
    ----------
    right : str
        The right letter.
    explained : dict[str, str]
        For every wrong letter why it is wrong.

    Returns
    -------
    Callable
    """

    def judge(answer: Any) -> str | None:
        letter = answer.strip(" ().\"'").lower() if isinstance(answer, str) else answer
        if isinstance(letter, str) and letter == right:
            return None
        letters = sorted([right, *explained])
        if not isinstance(letter, str):
            return f"the answer is a letter in quotation marks, such as {letters[0]!r}; got {shown(answer)}"
        return explained.get(letter, f"{shown(answer)} is none of the letters {', '.join(letters)}")

    return judge


class Quiz:
    """A few questions with lettered answers, to commit to before the explanations are read.

    Parameters
    ----------
    *items : tuple[str, str, dict[str, tuple[str, str]]]
        The question; the right letter; for each letter the answer that it stands for, and what is to be said about it.
    """

    def __init__(self, *items: tuple[str, str, dict[str, tuple[str, str]]]) -> None:
        self.items = items

    @property
    def task(self) -> str:
        """The questions as the notebook asks them, word for word."""
        asked = []
        for number, (question, _, options) in enumerate(self.items, start=1):
            listed = ", ".join(f"({letter}) {text}" for letter, (text, _) in options.items())
            asked.append(f"{number}. {question} {listed}.")
        return "\n".join(asked)

    @property
    def answer(self) -> str:
        """The right letters, as Python for the notebook's cell."""
        return f'quiz = "{"".join(right for _, right, _ in self.items)}"'

    def check(self, answer: Any) -> None:
        """Print of each answer whether it is right, and why. Never raises.

        Parameters
        ----------
        answer : Any
            A letter for each question, as one string; ``...`` when it is not written yet.
        """
        if answer is ...:
            print(f"Not answered yet. Replace the ... by {len(self.items)} letters, and run the cell again.")
            return
        letters = [letter for letter in answer.lower() if letter.isalpha()] if isinstance(answer, str) else []
        if len(letters) != len(self.items):
            example = "abcd"[: len(self.items)]
            print(f"✗ Not yet: {len(self.items)} letters are asked, such as {example!r}; got {shown(answer)}")
            return
        for number, (letter, (_, right, options)) in enumerate(zip(letters, self.items, strict=True), start=1):
            said = options[letter][1] if letter in options else f"the letters are {', '.join(options)}"
            print(f"{number}. {'✓ Right' if letter == right else '✗ Not yet'}, ({letter}): {said}")

    def solution(self) -> None:
        """Print the right letters, and what is to be said about every answer."""
        for number, (_, right, options) in enumerate(self.items, start=1):
            print(f"{number}. ({right}) is right.")
            for letter, (text, said) in options.items():
                print(f"   ({letter}) {text}: {said}".replace("$", ""))


def shown(value: Any) -> str:
    """Write a value for a message: on one line, and short.

    Parameters
    ----------
    value : Any
        Any value.

    Returns
    -------
    str
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"

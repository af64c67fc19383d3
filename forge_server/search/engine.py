"""What each database does its own way: which components hold a lexeme, which words are near."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy.orm import Session

from .documents import Document


class Pattern(NamedTuple):
    """A lexeme, or with ``prefix`` every lexeme that begins so; letters and digits alone. Left out
    is who holds ``without``: a great many, whom a better pattern of the same word has found."""

    lexeme: str
    prefix: bool = False
    without: str | None = None


class Engine(Protocol):
    """Works in the transaction that it is given. An implementation hands no text to the database
    as part of a statement, and quotes every lexeme in its language of questions."""

    def holders(
        self, session: Session, patterns: Sequence[Pattern], among: Collection[int] | None = None
    ) -> Mapping[Pattern, int]:
        """The components that hold a lexeme of each pattern, as a set of bits, in one statement;
        only those ``among`` some where that is given."""
        ...

    def near(self, session: Session, word: str, most: int) -> list[str]:
        """Words of the index that share the most trigrams with ``word``, at most ``most``."""
        ...

    def put(self, session: Session, documents: Sequence[Document]) -> None:
        """Replaces the lexemes of these components, and adds their words."""
        ...

    def clear(self, session: Session) -> None:
        """Drops all lexemes and words."""
        ...


def missing_words(known: Iterable[str], documents: Iterable[Document]) -> list[str]:
    """The words of ``documents`` that are not ``known``, each once, in order."""
    wanted = {word for document in documents for word in document.words}
    return sorted(wanted.difference(known))

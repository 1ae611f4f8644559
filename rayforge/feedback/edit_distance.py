"""How many letters two requests differ by."""

from __future__ import annotations


class Letters:
    """A text that is compared with many: a bit for each place of each of its letters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[str, int] = {}
        for place, letter in enumerate(text):
            self.places[letter] = self.places.get(letter, 0) | 1 << place

    def distance(self, other: str) -> int:
        """Insertions, deletions and substitutions that make the one text into the other
        (Levenshtein 1966), a column of the table at a time as bits of two whole numbers (Myers
        1999, Hyyrö 2003)."""
        length = len(self.text)
        if not length:
            return len(other)
        every, last = (1 << length) - 1, 1 << (length - 1)
        up, down, score = every, 0, length
        for letter in other:
            same = self.places.get(letter, 0)
            vertical = same | down
            horizontal = (((same & up) + up) ^ up) | same
            plus = down | (~(horizontal | up) & every)
            minus = up & horizontal
            score += bool(plus & last) - bool(minus & last)
            plus, minus = (plus << 1 | 1) & every, minus << 1 & every
            up = minus | (~(vertical | plus) & every)
            down = plus & vertical
        return score

    def similarity(self, other: str) -> float:
        """1 − distance / length of the longer; 1 for equal texts."""
        longest = max(len(self.text), len(other))
        return 1.0 - self.distance(other) / longest if longest else 1.0


def edit_similarity(a: str, b: str) -> float:
    """1 − edit distance / length of the longer; 1 for equal texts."""
    return Letters(a).similarity(b)

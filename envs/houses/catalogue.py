"""What furniture each kind of room may hold: names in REVERIE's style, sizes and places."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Piece:
    """A kind of furniture and how it is placed; lengths in metres."""

    name: str
    width: float
    """Along the wall."""
    depth: float
    """Away from the wall."""
    height: float
    chance: float
    """How likely a room has it."""
    place: Literal["wall", "hung", "middle", "ceiling"] = "wall"
    base: float = 0.0
    """Height of its lower side."""
    beside: tuple[str, ...] = ()
    """Names of small pieces put to the left and right of it."""
    around: str = ""
    """Name of the seats around it."""
    on: tuple[str, ...] = ()
    """Names of things of which one may stand on it."""


# Small pieces that only stand beside, around or on others: (width, depth, height).
SMALL: dict[str, tuple[float, float, float]] = {
    "nightstand": (0.45, 0.4, 0.55),
    "lamp": (0.3, 0.3, 0.45),
    "dining#chair": (0.42, 0.42, 0.9),
    "office#chair": (0.5, 0.5, 1.0),
    "stool": (0.35, 0.35, 0.7),
    "vase": (0.2, 0.2, 0.35),
    "microwave": (0.45, 0.35, 0.3),
    "monitor": (0.5, 0.2, 0.4),
    "tv": (1.1, 0.12, 0.65),
    "flower": (0.25, 0.25, 0.35),
    "clock": (0.25, 0.12, 0.3),
    "statue": (0.25, 0.25, 0.5),
    "book": (0.3, 0.2, 0.1),
    "plant": (0.4, 0.4, 0.9),
    "printer": (0.45, 0.4, 0.3),
    "towel": (0.4, 0.3, 0.12),
    "basket": (0.35, 0.3, 0.3),
    "bowl": (0.3, 0.3, 0.12),
    "candle": (0.12, 0.12, 0.25),
}

_PICTURE = Piece("picture", 0.8, 0.04, 0.6, 0.6, "hung", 1.3)
_MIRROR = Piece("mirror", 0.7, 0.04, 1.0, 0.9, "hung", 1.0)
_PLANT = Piece("plant", 0.45, 0.45, 1.1, 0.3)
_BOOKSHELF = Piece("bookshelf", 1.1, 0.32, 2.0, 0.5)
_COUCH = Piece("couch", 1.9, 0.85, 0.85, 1.0)
_ARMCHAIR = Piece("armchair", 0.8, 0.8, 0.9, 0.6)
_TV = Piece("tv#stand", 1.4, 0.42, 0.5, 0.7, on=("tv",))
_DESK = Piece("desk", 1.3, 0.65, 0.75, 1.0, around="office#chair", on=("monitor", "lamp", "book"))

FURNITURE: dict[str, tuple[Piece, ...]] = {
    "a": (
        Piece("toilet", 0.45, 0.65, 0.8, 1.0),
        Piece("bathtub", 1.5, 0.75, 0.6, 0.55),
        Piece("shower", 0.9, 0.9, 2.1, 0.55),
        Piece("sink", 0.7, 0.5, 0.85, 1.0),
        _MIRROR,
        Piece("towel", 0.5, 0.06, 0.7, 0.5, "hung", 0.9),
        Piece("laundry#basket", 0.4, 0.4, 0.6, 0.25),
        Piece("scale", 0.32, 0.32, 0.06, 0.2),
    ),
    "b": (
        Piece("bed", 1.6, 2.0, 0.6, 1.0, beside=("nightstand", "nightstand")),
        Piece("wardrobe", 1.4, 0.6, 2.1, 0.65),
        Piece("dresser", 1.1, 0.5, 0.85, 0.6, on=("lamp", "tv", "vase", "candle")),
        _ARMCHAIR,
        Piece("rug", 1.6, 1.2, 0.02, 0.4, "middle"),
        Piece("desk", 1.1, 0.55, 0.75, 0.25, around="office#chair", on=("lamp", "book")),
        Piece("crib", 1.2, 0.65, 0.9, 0.12),
        Piece("picture", 0.8, 0.04, 0.6, 0.5, "hung", 1.3),
        Piece("mirror", 0.6, 0.04, 1.4, 0.3, "hung", 0.6),
        _PLANT,
        Piece("bench", 1.2, 0.4, 0.45, 0.2),
    ),
    "c": (
        Piece("clothes", 1.6, 0.5, 1.2, 1.0, base=0.7),
        Piece("shelf", 0.9, 0.35, 1.8, 0.8),
        Piece("shoe#rack", 0.8, 0.3, 0.5, 0.6),
        Piece("box", 0.5, 0.4, 0.4, 0.5),
        Piece("mirror", 0.5, 0.04, 1.5, 0.3, "hung", 0.4),
    ),
    "d": (
        Piece(
            "dining#table",
            1.6,
            0.95,
            0.75,
            1.0,
            "middle",
            around="dining#chair",
            on=("vase", "bowl", "candle"),
        ),
        Piece("china#cabinet", 1.2, 0.45, 1.9, 0.5),
        Piece("sideboard", 1.5, 0.45, 0.85, 0.5, on=("lamp", "vase", "statue")),
        Piece("chandelier", 0.7, 0.7, 0.5, 0.6, "ceiling", 1.95),
        _PICTURE,
        _PLANT,
        Piece("bar#cart", 0.7, 0.4, 0.85, 0.2),
    ),
    "e": (
        Piece("coat#rack", 0.5, 0.4, 1.8, 0.7),
        Piece("bench", 1.1, 0.4, 0.45, 0.6),
        Piece("console#table", 1.0, 0.35, 0.8, 0.5, on=("vase", "statue", "bowl")),
        Piece("mirror", 0.7, 0.04, 1.0, 0.6, "hung", 0.9),
        Piece("umbrella#stand", 0.3, 0.3, 0.6, 0.4),
        Piece("rug", 1.2, 0.9, 0.02, 0.4, "middle"),
    ),
    "f": (
        _COUCH,
        Piece("couch", 2.3, 0.9, 0.85, 0.3),
        _TV,
        _ARMCHAIR,
        Piece("coffee#table", 1.0, 0.6, 0.42, 0.7, "middle", on=("book", "bowl", "candle")),
        _BOOKSHELF,
        Piece("toy#box", 0.8, 0.45, 0.5, 0.4),
        Piece("fireplace", 1.4, 0.4, 1.2, 0.3),
        _PICTURE,
        _PLANT,
    ),
    "h": (
        Piece("console#table", 1.0, 0.3, 0.8, 0.45, on=("vase", "lamp", "statue", "clock")),
        Piece("picture", 0.8, 0.04, 0.6, 0.8, "hung", 1.3),
        Piece("picture", 0.6, 0.04, 0.8, 0.5, "hung", 1.2),
        Piece("mirror", 0.6, 0.04, 1.2, 0.35, "hung", 0.8),
        Piece("bench", 1.0, 0.35, 0.45, 0.25),
        Piece("plant", 0.35, 0.35, 1.1, 0.5),
        Piece("bookshelf", 0.9, 0.28, 1.9, 0.2),
        Piece("grandfather#clock", 0.5, 0.3, 2.0, 0.2),
        Piece("statue", 0.35, 0.35, 1.4, 0.2),
    ),
    "i": (
        Piece("bookshelf", 1.6, 0.34, 2.1, 1.0),
        Piece("bookshelf", 1.1, 0.34, 2.1, 0.8),
        Piece("armchair", 0.8, 0.8, 0.95, 0.9, beside=("lamp",)),
        Piece("globe", 0.45, 0.45, 1.0, 0.5),
        Piece("rug", 1.8, 1.3, 0.02, 0.5, "middle"),
        Piece("piano", 1.5, 0.65, 1.2, 0.35),
        _DESK,
    ),
    "j": (
        Piece("washing#machine", 0.65, 0.65, 0.9, 1.0),
        Piece("dryer", 0.65, 0.65, 0.9, 0.8),
        Piece("laundry#basket", 0.45, 0.4, 0.6, 0.8),
        Piece("ironing#board", 1.2, 0.35, 0.9, 0.4),
        Piece("shelf", 0.9, 0.35, 1.8, 0.5),
        Piece("sink", 0.6, 0.5, 0.9, 0.4),
    ),
    "k": (
        Piece("refrigerator", 0.8, 0.75, 1.85, 1.0),
        Piece("stove", 0.75, 0.65, 0.92, 1.0),
        Piece("kitchen#counter", 1.5, 0.62, 0.92, 1.0, on=("microwave", "bowl", "flower")),
        Piece("sink", 0.8, 0.62, 0.92, 0.9),
        Piece("dishwasher", 0.6, 0.62, 0.88, 0.5),
        Piece("kitchen#island", 1.5, 0.8, 0.92, 0.55, "middle", around="stool", on=("bowl",)),
        Piece("kitchen#cabinet", 1.0, 0.4, 1.95, 0.5),
        Piece("trash#can", 0.35, 0.35, 0.65, 0.5),
        Piece("clock", 0.35, 0.04, 0.35, 0.3, "hung", 1.8),
        _PLANT,
    ),
    "l": (
        _COUCH,
        Piece("couch", 1.9, 0.85, 0.85, 0.35),
        Piece("armchair", 0.8, 0.8, 0.9, 0.8, beside=("lamp",)),
        Piece("coffee#table", 1.1, 0.65, 0.42, 0.9, "middle", on=("book", "vase", "bowl")),
        _TV,
        Piece("fireplace", 1.5, 0.4, 1.2, 0.55),
        Piece("piano", 1.5, 0.65, 1.2, 0.25),
        _BOOKSHELF,
        _PICTURE,
        Piece("curtain", 1.4, 0.1, 2.2, 0.4, "hung", 0.1),
        Piece("plant", 0.45, 0.45, 1.2, 0.7),
        Piece("ottoman", 0.6, 0.6, 0.42, 0.3),
    ),
    "o": (
        _DESK,
        _BOOKSHELF,
        Piece("filing#cabinet", 0.5, 0.55, 1.1, 0.6, on=("printer", "plant")),
        Piece("whiteboard", 1.3, 0.04, 0.9, 0.35, "hung", 1.1),
        _PICTURE,
        _PLANT,
        Piece("trash#can", 0.3, 0.3, 0.4, 0.5),
        _ARMCHAIR,
    ),
    "r": (
        Piece("pool#table", 2.1, 1.15, 0.8, 0.8, "middle"),
        _COUCH,
        _TV,
        Piece("dartboard", 0.5, 0.05, 0.5, 0.5, "hung", 1.5),
        Piece("arcade#machine", 0.7, 0.7, 1.75, 0.5),
        Piece("bar", 1.6, 0.55, 1.1, 0.4, around="stool"),
        _PICTURE,
    ),
    "w": (
        Piece("treadmill", 0.8, 1.6, 1.3, 1.0),
        Piece("exercise#bike", 0.55, 1.1, 1.2, 0.8),
        Piece("weight#rack", 1.3, 0.5, 1.0, 0.7),
        Piece("mirror", 1.6, 0.04, 1.8, 0.7, "hung", 0.3),
        Piece("bench", 1.2, 0.4, 0.45, 0.5),
        Piece("towel", 0.5, 0.06, 0.7, 0.3, "hung", 0.9),
    ),
}

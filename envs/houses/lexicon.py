"""The words for rooms and things: what the grammar writes and what the parser understands."""

from envs.houses.catalogue import FURNITURE, SMALL

ROOM_WORDS: dict[str, tuple[str, ...]] = {
    "a": ("bathroom", "restroom", "washroom"),
    "b": ("bedroom",),
    "c": ("closet", "walk-in closet"),
    "d": ("dining room", "dining area"),
    "e": ("entryway", "foyer"),
    "f": ("family room", "den"),
    "h": ("hallway", "hall", "corridor"),
    "i": ("library", "reading room"),
    "j": ("laundry room", "laundry"),
    "k": ("kitchen",),
    "l": ("living room", "sitting room"),
    "o": ("office", "study"),
    "r": ("game room", "rec room"),
    "w": ("gym", "exercise room"),
}
"""Room letter -> what the grammar calls it."""

# Further names that only the parser knows (people's, and language models').
_MORE_ROOM_WORDS: dict[str, tuple[str, ...]] = {
    "a": ("bath", "powder room"),
    "b": ("bed room", "guest room", "master bedroom"),
    "c": ("wardrobe room",),
    "d": ("dinning room", "eating area", "breakfast room"),
    "e": ("entry way", "entrance hall", "lobby"),
    "f": ("familyroom",),
    "h": ("hall way", "passage", "passageway"),
    "j": ("laundryroom", "mudroom", "utility room"),
    "k": ("kitchen area",),
    "l": ("livingroom", "living area"),
    "o": ("home office", "study room"),
    "r": ("games room", "recreation room", "playroom"),
    "w": ("workout room", "fitness room", "home gym"),
    "": ("room",),
}

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "refrigerator": ("refrigerator", "fridge"),
    "couch": ("couch", "sofa"),
    "tv": ("tv", "television"),
    "tv#stand": ("tv stand", "tv"),
    "picture": ("picture", "painting"),
    "rug": ("rug", "carpet"),
    "bookshelf": ("bookshelf", "bookcase"),
    "nightstand": ("nightstand", "bedside table"),
    "washing#machine": ("washing machine", "washer"),
    "bathtub": ("bathtub", "tub"),
    "dining#table": ("dining table", "table"),
    "dining#chair": ("dining chair", "chair"),
    "office#chair": ("office chair", "desk chair", "chair"),
    "armchair": ("armchair", "chair"),
    "coffee#table": ("coffee table", "table"),
    "console#table": ("console table", "table"),
    "kitchen#cabinet": ("kitchen cabinet", "cabinet"),
    "china#cabinet": ("china cabinet", "cabinet"),
    "filing#cabinet": ("filing cabinet", "cabinet"),
    "kitchen#counter": ("kitchen counter", "counter"),
    "kitchen#island": ("kitchen island", "island"),
    "wardrobe": ("wardrobe", "armoire"),
    "laundry#basket": ("laundry basket", "basket"),
    "trash#can": ("trash can", "garbage can"),
    "grandfather#clock": ("grandfather clock", "clock"),
    "exercise#bike": ("exercise bike", "bike"),
    "shelf": ("shelf", "shelves"),
    "stove": ("stove", "oven"),
    "stool": ("stool", "bar stool"),
    "plant": ("plant", "potted plant"),
    "flower": ("flowers", "flower"),
    "book": ("books", "book"),
    "umbrella#stand": ("umbrella stand",),
    "chandelier": ("chandelier",),
    "archway": ("archway", "arch"),
}

# Things too small or too common to be worth a mention.
_UNMENTIONED = {"scale", "towel", "bowl", "candle", "book", "door", "window", "archway", "basket"}
_UNMENTIONED |= {"box", "monitor", "lamp"}


def _names() -> tuple[str, ...]:
    found = {p.name for pieces in FURNITURE.values() for p in pieces}
    return tuple(sorted(found | set(SMALL) | {"door", "archway", "window"}))


THINGS: dict[str, tuple[str, ...]] = {
    name: _SYNONYMS.get(name, (name.replace("#", " "),)) for name in _names()
}
"""Name in the box files -> what the grammar calls it, most exact first."""

MENTIONED: frozenset[str] = frozenset(THINGS) - _UNMENTIONED
"""Names that instructions may use as landmarks."""

_MORE_THING_WORDS: dict[str, tuple[str, ...]] = {
    "couch": ("settee", "loveseat"),
    "lamp": ("floor lamp", "table lamp"),
    "sink": ("washbasin", "basin", "bathroom sink", "kitchen sink"),
    "bed": ("beds",),
    "shower": ("shower stall",),
    "washing#machine": ("clothes washer",),
    "dryer": ("clothes dryer",),
    "dresser": ("chest of drawers", "drawers"),
    "trash#can": ("trashcan", "wastebasket", "bin"),
    "treadmill": ("running machine",),
    "pool#table": ("billiard table",),
    "bar": ("bar counter",),
    "exercise#bike": ("stationary bike",),
    "picture": ("photo", "artwork"),
    "coat#rack": ("coat stand",),
    "curtain": ("curtains", "drapes"),
    "kitchen#cabinet": ("kitchen cabinets", "cabinets", "cupboard"),
}


def _plural(words: str) -> str:
    if words.endswith(("s", "shelves")):
        return words
    return words + ("es" if words.endswith(("ch", "sh", "x")) else "s")


def _thing_phrases() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for source in (THINGS, _MORE_THING_WORDS):
        for name, phrases in source.items():
            for phrase in phrases:
                table.setdefault(phrase, set()).add(name)
                table.setdefault(_plural(phrase), set()).add(name)
    return {phrase: frozenset(names) for phrase, names in table.items()}


THING_PHRASES: dict[str, frozenset[str]] = _thing_phrases()
"""What one may call a thing -> the names in the box files that it can mean."""

ROOM_PHRASES: dict[str, str] = {
    phrase: letter
    for source in (ROOM_WORDS, _MORE_ROOM_WORDS)
    for letter, phrases in source.items()
    for phrase in phrases
}
"""What one may call a room -> its letter ('' for any room)."""


def meaning(phrase: str) -> str:
    """What a thing's phrase stands for: its possible names, sorted and joined by '|'."""
    return "|".join(sorted(THING_PHRASES[phrase]))

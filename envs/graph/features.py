"""What an agent perceives at a viewpoint: the `FeatureStore` protocol and its semantic store.

The stores of image features are in `image_features`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np

from envs.graph.boxes import NO_LABEL, ROOM_LABELS, Boxes, SeenObject
from envs.graph.buildings import HEADING_BINS, VIEWS, Buildings
from rayforge.errors import DataError

# Openness is in metres and at most some tens of them; this brings it near one.
OPENNESS_SCALE = 10.0


class FeatureStore(Protocol):
    """36 views of D numbers at every viewpoint; view h + 12 * row as in `buildings`."""

    @property
    def dimension(self) -> int:
        """D."""
        ...

    @property
    def pooling(self) -> Literal["max", "mean"]:
        """How `observation_tables` pools views into sectors."""
        ...

    def panorama(self, scan: str, viewpoint: str) -> np.ndarray:
        """All views from here, float16 [36, D]."""
        ...

    def towards(self, scan: str, viewpoint: str, neighbour: str, view: int) -> np.ndarray:
        """How `neighbour`, in `view`, looks from here, float16 [D]."""
        ...

    def check(self, buildings: Buildings) -> None:
        """Find out before work starts whether every viewpoint is served.

        Raises:
            DataError: viewpoints are missing or have the wrong shape; names file and viewpoint.
        """
        ...


class SemanticStore:
    """Room label, objects and geometry in place of images (designed here).

    A view has three blocks: the one-hot room label of the viewpoint one stands in (30, the same
    in all views), the words of the objects that this view shows (0 or 1 each), and the openness
    of its heading (metres to the farthest viewpoint in line of sight, over 10). It shows what can
    be seen in that direction from here and nothing of what lies at the other end of an edge.

    With ``neighbour_rooms=True`` a fourth block (30) is appended. `towards` fills it with the
    neighbour's room label; it is zero in `panorama`. This tells the agent what a door leads to,
    which an image shows only in part: results with it have to say so.
    """

    pooling: Literal["max", "mean"] = "max"

    def __init__(
        self,
        buildings: Buildings,
        room_labels: Mapping[tuple[str, str], str],
        boxes: Boxes,
        objects: tuple[str, ...],
        *,
        neighbour_rooms: bool = False,
        labels_file: str = "vp2room_label.json",
    ) -> None:
        """
        Args:
            buildings: for the openness of each viewpoint.
            room_labels: from `read_room_labels`.
            boxes: from `read_boxes`; a viewpoint that it lacks has no objects.
            objects: the vocabulary, from `object_words` on the training buildings; other words
                are dropped.
            neighbour_rooms: whether `towards` tells the neighbour's room.
            labels_file: what errors call the room labels' file.
        """
        if len(set(objects)) != len(objects):
            raise DataError(
                f"objects: word {max(objects, key=objects.count)!r} stands twice in the vocabulary"
            )
        self.buildings = buildings
        self.room_labels = room_labels
        self.objects = objects
        self.neighbour_rooms = neighbour_rooms
        self.labels_file = labels_file
        rooms = len(ROOM_LABELS)
        self._words = {word: rooms + place for place, word in enumerate(objects)}
        self._openness = rooms + len(objects)
        self._neighbour = self._openness + 1
        self.dimension = self._neighbour + (rooms if neighbour_rooms else 0)
        self._seen = {key: self._places(seen) for key, seen in boxes.items()}
        self.without_boxes = sum(place not in boxes for place in buildings.places())

    def _places(self, seen: tuple[SeenObject, ...]) -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            (view, self._words[word])
            for words, views in seen
            for word in words
            if word in self._words
            for view in views
        ]
        views, columns = zip(*pairs, strict=True) if pairs else ((), ())
        return np.array(views, dtype=np.intp), np.array(columns, dtype=np.intp)

    def panorama(self, scan: str, viewpoint: str) -> np.ndarray:
        views = np.zeros((VIEWS, self.dimension), dtype=np.float16)
        label = self.room_labels[scan, viewpoint]
        if label != NO_LABEL:
            views[:, ROOM_LABELS.index(label)] = 1
        if (scan, viewpoint) in self._seen:
            views[self._seen[scan, viewpoint]] = 1
        openness = self.buildings.openness[self.buildings.index(scan, viewpoint)]
        # Alike at all three elevations: an opening is a matter of the heading.
        by_heading = views.reshape(VIEWS // HEADING_BINS, HEADING_BINS, self.dimension)
        by_heading[..., self._openness] = openness / OPENNESS_SCALE
        return views

    def towards(self, scan: str, viewpoint: str, neighbour: str, view: int) -> np.ndarray:
        look = self.panorama(scan, viewpoint)[view]
        if self.neighbour_rooms:
            label = self.room_labels[scan, neighbour]
            if label != NO_LABEL:
                look[self._neighbour + ROOM_LABELS.index(label)] = 1
        found: np.ndarray = look
        return found

    def check(self, buildings: Buildings) -> None:
        with_boxes = {scan for scan, _ in self._seen}
        for scan, viewpoint in buildings.places():
            if (scan, viewpoint) not in self.room_labels:
                raise DataError(
                    f"{self.labels_file}: building {scan}: viewpoint {viewpoint} has no room label;"
                    " add it ('-' means no label)"
                )
        for scan in buildings.scans:
            if scan not in with_boxes:
                print(
                    f"warning: building {scan} has no object boxes; its views show no objects",
                    file=sys.stderr,
                )

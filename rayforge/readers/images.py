"""Images, of no more pixels than the limit: held against the header before memory is taken."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import PIL.Image

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.faults import reading


def check_image(content: bytes, place: str | Path, kind: type[UserError] = DataError) -> None:
    """Raises `kind` where the bytes are no image that Pillow reads, or of too many pixels."""
    with reading(place, kind, "is it a whole image?"), warnings.catch_warnings():
        # Pillow's own limit is higher: a warning, and an error at twice as much.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        try:
            with PIL.Image.open(io.BytesIO(content)) as image:
                too_large = image.width * image.height > limits.PIXELS
        except PIL.Image.DecompressionBombError:
            too_large = True
        if too_large:
            raise kind(
                f"{place}: the image is larger than the limit of {limits.PIXELS:,} pixels; make it"
                " smaller"
            )

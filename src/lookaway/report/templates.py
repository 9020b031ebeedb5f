"""The templates of pages, which are compiled once."""

import base64
from functools import cache
from io import BytesIO
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from lookaway.written import decimal, percent, signed

ASSETS = Path(__file__).parent / "assets"


@cache
def environment() -> jinja2.Environment:
    """The templates; every name is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["data_uri"] = _jpeg
    made.globals |= {"percent": percent, "decimal": decimal, "signed": signed}
    return made


def _jpeg(pixels: np.ndarray) -> str:
    """An image (H, W, 3) in [0, 1] as a data URI."""
    buffer = BytesIO()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

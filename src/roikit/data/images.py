"""Reading a picture from a file: any common kind, as RGB."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from roikit.data.errors import DataError
from roikit.data.text import is_litter

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""Endings of image files, as `images_in` looks for them (in any case)."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class ImageFile:
    """What decoding a file showed: width and height of the stored pixels, and the EXIF orientation (1 = upright)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after the EXIF rotation."""
        return (self.height, self.width) if self.orientation in _TURNED else (self.width, self.height)


def read_image(path: str | Path, *, upright: bool = True) -> Tensor:
    """A picture as a uint8 RGB tensor.

    Greyscale becomes three equal channels; 16-bit values are divided by 257; transparent pixels are laid on white;
    the first frame of an animation is taken.

    Args:
        path: an image file of any kind Pillow reads.
        upright: turn the picture as its EXIF orientation says (what a viewer shows). `False` keeps the stored pixels,
            which is what most annotation files refer to.

    Returns:
        uint8 `[3, H, W]`.

    Raises:
        DataError: there is no such file, or it is no image, or it is cut short; one line with the path and the reason.

    >>> image = read_image("photo.jpg")  # doctest: +SKIP
    >>> image.shape, image.dtype  # doctest: +SKIP
    (torch.Size([3, 480, 640]), torch.uint8)
    """
    try:
        with _open(path) as picture:
            picture.load()
            if upright:
                picture = ImageOps.exif_transpose(picture)
            array = _rgb(picture)
    except (*_DECODING, DataError) as error:
        raise DataError(f"{path}: {_reason(error, path)}") from None
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # marks that stand at the end of a whole file


def inspect_image(path: str | Path, *, ends: bool = False) -> ImageFile:
    """Decode a file to the end without keeping its pixels, and say what it holds. Errors as in `read_image`.

    Args:
        ends: look at the head and the end of a JPEG or PNG file alone, fifty times as fast: a file that was cut is
            found, one that is damaged within is not. What has no proper end is decoded.
    """
    try:
        with _open(path) as picture:
            width, height = picture.size
            _check_mode(picture.mode)
            orientation = picture.getexif().get(_ORIENTATION, 1)
            if ends and _is_whole(Path(path), picture.format):
                return ImageFile(width, height, orientation if orientation in range(1, 9) else 1)
            if picture.format == "JPEG":
                # all of the file is still read and entropy-decoded, only the inverse DCT is done at an eighth
                picture.draft(picture.mode, (max(1, width // 8), max(1, height // 8)))
            picture.load()
    except (*_DECODING, DataError) as error:
        raise DataError(f"{path}: {_reason(error, path)}") from None
    return ImageFile(width, height, orientation if orientation in range(1, 9) else 1)


def _is_whole(path: Path, form: str | None) -> bool:
    """Whether a file ends as its format wants it to; False also where the format has no such mark."""
    if form not in _ENDS:
        return False
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), 2)
        return _ENDS[form] in file.read()


def images_in(folder: str | Path) -> list[Path]:
    """The image files of a folder, by their endings, in name order. DataError where there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file() and not is_litter(file)
    )
    if not files:
        raise DataError(f"{folder}: no images in this folder (looked for {', '.join(SUFFIXES)})")
    return files


# what Pillow raises for files that are damaged, empty, too big, or of a kind it does not know
_DECODING = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns from 89 million pixels, in some formats at decoding, and refuses from twice that; the refusal
        # is the one that is reported
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            yield picture


def _reason(error: BaseException, path: str | Path) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError) or Path(path).is_dir():
        return "a folder, not an image"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, UnidentifiedImageError):
        return "not an image" if Path(path).stat().st_size else "an empty file, not an image"
    if isinstance(error, DataError):
        return error.message
    return f"cannot be decoded ({str(error) or type(error).__name__})"


def _check_mode(mode: str) -> None:
    if mode == "F":
        raise DataError("floating-point pixels, which have no agreed white; save it as 8 or 16 bits")


def _rgb(picture: Image.Image) -> np.ndarray:
    _check_mode(picture.mode)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError("pixel values beyond 16 bits; save it as 8 or 16 bits")
        grey = ((values + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, colours)
    return np.array(picture.convert("RGB"))

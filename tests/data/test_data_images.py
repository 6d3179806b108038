"""Reading pictures: every mode, EXIF, and files that are no pictures. torchvision's decoder is the oracle."""

import numpy as np
import pytest
import torch
import torchvision
from data_files import save_image, truncate
from PIL import Image

from roikit.data import DataError, images_in, read_image
from roikit.data.images import inspect_image

GREY = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21


def test_rgb_agrees_with_torchvision(tmp_path):
    path = save_image(tmp_path / "a.png")
    image = read_image(path)
    assert image.dtype == torch.uint8 and image.is_contiguous()
    torch.testing.assert_close(image, torchvision.io.decode_image(str(path)))


def test_jpeg_is_close_to_torchvision(tmp_path):
    path = save_image(tmp_path / "a.jpg")
    difference = read_image(path).int() - torchvision.io.decode_image(str(path)).int()
    assert difference.abs().max() <= 2  # the two libraries bundle different versions of libjpeg


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    pixels = np.random.default_rng(orientation).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    upright = torchvision.io.decode_image(str(path), apply_exif_orientation=True)
    torch.testing.assert_close(read_image(path), upright)
    torch.testing.assert_close(read_image(path, upright=False), torch.from_numpy(pixels).permute(2, 0, 1))
    found = inspect_image(path)
    assert found.orientation == orientation and found.upright_size == (upright.shape[2], upright.shape[1])


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LAB", "YCbCr"])
def test_modes_become_rgb(tmp_path, mode):
    picture = Image.open(save_image(tmp_path / "rgb.png")).convert("RGB").convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "LAB", "YCbCr") else "a.png")
    picture.save(path)
    expected = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    torch.testing.assert_close(read_image(path), expected)


def test_sixteen_bits(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 48, 64)
    np.testing.assert_array_equal(image[1], np.round(GREY / 257).astype(np.uint8))


def test_transparent_pixels_are_laid_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    pixels[2:, :2] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [255, 0, 0]
    assert image[:, 3, 3].tolist() == [255, 255, 255]
    assert image[:, 3, 0].tolist() == [127, 127, 127]


def test_palette_with_transparency(tmp_path):
    picture = Image.new("P", (3, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.png", transparency=0)
    image = read_image(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [255, 255, 255] and image[:, 1, 1].tolist() == [10, 20, 30]


def _text(path):
    path.write_text("not a picture")


def _empty(path):
    path.write_bytes(b"")


def _folder(path):
    path.mkdir()


def _cut_jpeg(path):
    save_image(path.with_suffix(".jpg"))
    path.with_suffix(".jpg").rename(path)
    truncate(path)


def _cut_png(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path, "PNG")
    truncate(path)


def _header_only(path):
    save_image(path.with_suffix(".jpg"))
    path.with_suffix(".jpg").rename(path)
    truncate(path, 0.02)


def _floats(path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(path, "TIFF")


def _thirty_two_bits(path):
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(path, "TIFF")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (None, "no such file"),
        (_text, "not an image"),
        (_empty, "an empty file, not an image"),
        (_folder, "a folder, not an image"),
        (_cut_jpeg, "cannot be decoded (image file is truncated"),
        (_cut_png, "cannot be decoded"),
        (_header_only, "not an image|cannot be decoded"),
        (_floats, "floating-point pixels"),
        (_thirty_two_bits, "beyond 16 bits"),
    ],
)
def test_no_image_gives_one_line(tmp_path, make, reason):
    path = tmp_path / "bad.file"
    if make is not None:
        make(path)
    readers = [read_image] if make is _thirty_two_bits else [read_image, inspect_image]  # values are not looked at
    for read in readers:
        with pytest.raises(DataError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert any(part in message for part in reason.split("|")), message


def test_an_image_too_large_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(path)


def test_images_in(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        images_in(tmp_path / "none")
    with pytest.raises(DataError, match="no images in this folder"):
        images_in(tmp_path)
    save_image(tmp_path / "b.JPG".lower()).rename(tmp_path / "b.JPG")
    save_image(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("")
    assert [file.name for file in images_in(tmp_path)] == ["a.png", "b.JPG"]


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp"])
def test_a_look_at_the_ends_says_the_same_and_finds_a_cut_file(tmp_path, ending):
    path = save_image(tmp_path / f"a.{ending}", 70, 30)
    assert inspect_image(path, ends=True) == inspect_image(path)
    truncate(path, 0.6)
    with pytest.raises(DataError, match="cannot be decoded"):
        inspect_image(path, ends=True)


def test_many_new_images_are_looked_at_by_their_ends(tmp_path, monkeypatch, cache):
    from roikit.data import checks

    paths = [save_image(tmp_path / f"{n}.jpg", seed=n) for n in range(4)]
    monkeypatch.setattr(checks, "_DECODED", 3)
    seen = []
    real = checks.inspect_image
    monkeypatch.setattr(checks, "inspect_image", lambda path, ends: (seen.append(ends), real(path, ends=ends))[1])
    checks.inspect_images(paths)
    assert seen == [True] * 4
    checks.inspect_images([*paths, save_image(tmp_path / "5.jpg")])
    assert seen[4:] == [False]  # one is new


@pytest.mark.parametrize("size", [(1, 9), (9, 3), (7, 7)])
def test_small_jpeg_files_are_inspected(tmp_path, size):
    """At an eighth of their size they would have no pixel."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", size).save(path)
    found = inspect_image(path)
    assert (found.width, found.height) == size

"""What a person downloads is read, never executed, and names no file outside its own folder."""

from __future__ import annotations

import ast
import json
import os
import pickle
import struct
import zlib
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from roikit.data import DataError, open_dataset, read_image, with_proposals
from roikit.data.images import inspect_image
from roikit.detection import state_dicts
from roikit.documents import load_yaml
from roikit.train import checkpoint, parse
from roikit.train.errors import RunError
from roikit.train.runfolder import RunFolder

SOURCES = sorted((Path(__file__).parent.parent / "src" / "roikit").rglob("*.py"))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """Nothing is executed: nobody makes this folder."""
    mark = tmp_path / "executed"
    yield mark
    assert not mark.exists()


# ---- weights and checkpoints


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "made")))
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_execute_nothing(tmp_path, mark, zipped):
    file = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.zeros(1), "trap": Trap(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"weights: .*weights\.pth cannot be read as weights"):
        state_dicts.read(file)


def test_checkpoints_execute_nothing(tmp_path, mark):
    torch.save({"step": 3, "trap": Trap(mark)}, tmp_path / "step_00000003.pt")
    said: list[str] = []
    with pytest.raises(RunError, match="none of the 1 checkpoints can be read"):
        checkpoint.load_newest(tmp_path, said.append)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(tmp_path, 3)
    assert "is damaged" in said[0]


def test_weights_of_a_run_execute_nothing(tmp_path, mark):
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(RunError, match="is damaged or no safetensors file"):
        RunFolder(tmp_path).read_weights()


def test_nothing_in_the_package_can_execute_a_file():
    """No pickle, no unsafe loader, no eval: read from the code, so that it holds for every path through it."""
    for path in SOURCES:
        where = path.as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not {"pickle", "marshal", "shelve", "dill"} & {one.name for one in node.names}, where
            if isinstance(node, ast.Call):
                call, named = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert call not in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load"), where
                assert call != "torch.load" or named.get("weights_only") == "True", where
                assert call != "np.load" or "allow_pickle" not in named, where


def test_the_explorer_listens_to_this_machine_alone():
    server = pytest.importorskip("roikit.explore.server", reason="the extra explore is not installed")
    with server.listen(0) as place:
        assert place.getsockname()[0] == "127.0.0.1"


# ---- configurations


def test_yaml_makes_no_objects(tmp_path, mark):
    file = tmp_path / "config.yaml"
    file.write_text(f"seed: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(RunError, match=r"config\.yaml: is no valid YAML in line 1"):
        parse.check_file(file)
    with pytest.raises(RunError, match="is no valid YAML"):
        parse.read(file)
    with pytest.raises(DataError, match="is no valid YAML in line 1"):
        open_dataset(file, "train")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB + "names: *a11\ntrain: images\n", "aliases that stand for more than 100000 values"),
        ("names: &a [*a]\ntrain: images\n", "an alias within what it stands for"),
        ("names: " + "[" * 2000 + "\n", "nested too deeply"),
    ],
    ids=["bomb", "circle", "depth"],
)
def test_yaml_does_not_grow(tmp_path, text, reason):
    with pytest.raises(yaml.YAMLError, match=reason):
        load_yaml(text)
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match="is no valid YAML"):
        open_dataset(file, "train")
    with pytest.raises(RunError, match="is no valid YAML"):
        parse.check_file(file)


def test_aliases_are_taken():
    assert load_yaml("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.fixture
def module(tmp_path, monkeypatch, mark):
    """A module that shows that it was imported, beside the configuration."""
    (tmp_path / "strange_pools.py").write_text(
        f"import os\nfrom roikit import RoIAlign\nos.mkdir({str(mark)!r})\nclass Pool(RoIAlign): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("ROIKIT_MODULES", raising=False)
    return "strange_pools"


@pytest.mark.parametrize("path", ["strange_pools.Pool", "os.system", "subprocess.Popen", "builtins.exec"])
@pytest.mark.parametrize("key", ["extractor", "mask_extractor"])
def test_classes_come_from_named_modules(tmp_path, module, path, key):
    file = tmp_path / "config.yaml"
    file.write_text(f"{key}: {{class_path: {path}}}\n")
    with pytest.raises(RunError, match=rf"{path} is no class of roikit's, .*ROIKIT_MODULES="):
        parse.check_file(file)
    with pytest.raises(RunError, match=rf"{path} is no class of roikit's"):
        parse.read(file)
    with pytest.raises(RunError, match=rf"{path} is no class of roikit's"):
        parse.parse([f"--{key}={path}"])


def test_options_make_no_objects(tmp_path, module):
    config, _ = parse.parse(["--model.options={trap: {class_path: strange_pools.Pool, init_args: {}}}"])
    assert config.model.options["trap"] == {"class_path": "strange_pools.Pool", "init_args": {}}


def test_a_module_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "own_pools.py").write_text("from roikit import RoIAlign\nclass Pool(RoIAlign): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ROIKIT_MODULES", "other, own_pools")
    parse.limit_imports()
    config, text = parse.parse(["--extractor=own_pools.Pool", "--extractor.sampling_ratio=3"])
    assert config.extractor().sampling_ratio == 3 and "class_path: own_pools.Pool" in text


# ---- pictures


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * 1000)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_of_billions_of_pixels_is_refused(tmp_path):
    """Pillow's limit: 179 million pixels, said before memory is taken."""
    assert Image.MAX_IMAGE_PIXELS is not None
    file = tmp_path / "bomb.png"
    file.write_bytes(png(60_000, 60_000))
    for read in (read_image, inspect_image, lambda path: inspect_image(path, ends=True)):
        with pytest.raises(DataError, match=r"bomb\.png: cannot be decoded \(Image size .* exceeds limit"):
            read(file)


# ---- annotation files


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "head",
    [f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>', '<!DOCTYPE a [<!ENTITY l11 SYSTEM "file:///etc/passwd">]>'],
    ids=["laughs", "external"],
)
def test_xml_neither_grows_nor_opens_files(tmp_path, head):
    text = f"{head}<annotation><filename>a.png</filename><object><name>&l11;</name></object></annotation>"
    (tmp_path / "a.xml").write_text(text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="broken XML") as error:
        open_dataset(tmp_path, "train")
    assert "root:" not in str(error.value)


@pytest.fixture
def outside(tmp_path):
    """A picture and a label file beside the folder of the data."""
    (tmp_path / "secret").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret" / "x.png")
    (tmp_path / "secret" / "x.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return tmp_path / "secret" / "x.png"


def names(outside: Path) -> list[str]:
    return ["../../secret/x.png", "../secret/x.png", str(outside), "sub/../../secret/x.png", "../../../../etc/passwd"]


@pytest.mark.parametrize("place", range(5))
def test_coco_cannot_leave_its_folder(tmp_path, outside, place):
    name = names(outside)[place]
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "images").mkdir()
    content = {
        "images": [{"id": 1, "file_name": name, "width": 8, "height": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "data" / "annotations" / "instances_train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="missing image: no such file") as error:
        open_dataset(tmp_path / "data", "train")
    beside = place in (1, 3)  # ../secret of images/ would be in the data
    assert beside or ("leads out of" in str(error.value) and "nothing is read there" in str(error.value))


@pytest.mark.parametrize("place", range(5))
def test_voc_cannot_leave_its_folder(tmp_path, outside, place):
    name = names(outside)[place]
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
    text = f"<annotation><filename>{name}</filename><object><name>a</name><bndbox>{box}</bndbox></object></annotation>"
    (tmp_path / "data" / "Annotations" / "one.xml").write_text(text)
    sets = tmp_path / "data" / "ImageSets" / "Main" / "train.txt"
    sets.write_text("one\n")
    with pytest.raises(DataError, match=r"one\.jpg: missing image: no such file"):
        open_dataset(tmp_path / "data", "train")
    sets.write_text(f"{Path(name).with_suffix('')}\n")
    with pytest.raises(DataError, match="missing annotation"):
        open_dataset(tmp_path / "data", "train")


@pytest.mark.parametrize("place", range(5))
def test_yolo_cannot_leave_its_folder(tmp_path, outside, place, monkeypatch):
    name = names(outside)[place]
    (tmp_path / "data" / "labels").mkdir(parents=True)
    (tmp_path / "data" / "train.txt").write_text(f"{name}\n")
    (tmp_path / "data" / "data.yaml").write_text("names: [a]\ntrain: train.txt\n")
    monkeypatch.chdir(tmp_path / "data")  # names are also looked up from here
    with pytest.raises(DataError, match="leads out of") as error:
        open_dataset(tmp_path / "data", "train")
    assert "line 1: no image" in str(error.value)


def test_yolo_splits_lie_beside_the_data_at_most(tmp_path, outside):
    (tmp_path / "a" / "b" / "data").mkdir(parents=True)
    for given in ("../../../secret", str(outside.parent), "/etc"):
        (tmp_path / "a" / "b" / "data" / "data.yaml").write_text(f"names: [a]\ntrain: {given}\n")
        with pytest.raises(DataError, match=r"train is .*, which is not there"):
            open_dataset(tmp_path / "a" / "b" / "data", "train")


def test_proposals_nested_without_end(tmp_path):
    file = tmp_path / "proposals.json"
    file.write_text("[" * 100_000)
    with pytest.raises(DataError, match="is no JSON"):
        with_proposals(None, file)

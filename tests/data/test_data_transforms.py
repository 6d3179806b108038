"""Transforms keep image, boxes, masks and labels together."""

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from roikit.data import collate, open_dataset
from roikit.data.transforms import DetectionTransform, RandomScale, train_transform


@pytest.fixture(scope="module")
def tiny():
    return open_dataset("shapes:tiny", "train", masks=True)


def tight(masks):
    boxes = []
    for mask in masks:
        rows, columns = torch.nonzero(mask, as_tuple=True)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return torch.tensor(boxes).float().reshape(-1, 4)


@pytest.mark.parametrize("settings", [{"flip": 1.0}, {"flip": 0.0, "vertical_flip": 1.0}])
def test_flips(tiny, settings):
    axis = -1 if settings["flip"] else -2
    flip = train_transform(**settings)
    for index in range(4):
        image, target = tiny[index]
        flipped, moved = flip(image, target)
        assert flipped.dtype == torch.float32
        torch.testing.assert_close(flipped, image.flip(axis) / 255)
        torch.testing.assert_close(moved["masks"], target["masks"].flip(axis))
        torch.testing.assert_close(moved["boxes"], tight(moved["masks"]))
        for key in ("labels", "area", "iscrowd", "image_id"):
            assert torch.equal(torch.as_tensor(moved[key]), torch.as_tensor(target[key]))


def test_plain_tensors_in_and_out(tiny):
    image, target = train_transform(colour=0.3, scale=(0.8, 1.2), crop=(80, 90))(*tiny[0])
    assert type(image) is torch.Tensor
    assert all(type(v) is torch.Tensor for k, v in target.items() if k != "image_id")
    assert target["boxes"].dtype == torch.float32 and target["masks"].dtype == torch.uint8


def test_the_input_is_not_changed(tiny):
    image, target = tiny[1]
    copies = image.clone(), {k: torch.as_tensor(v).clone() for k, v in target.items()}
    train_transform(colour=0.5, scale=(0.5, 1.5), crop=(40, 40), vertical_flip=0.5)(image, target)
    assert torch.equal(image, copies[0])
    assert all(torch.equal(torch.as_tensor(target[k]), v) for k, v in copies[1].items())


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_scale(tiny, factor):
    image, target = tiny[2]
    scaled, moved = DetectionTransform([RandomScale(factor, factor)])(image, target)
    assert scaled.shape == (3, round(96 * factor), round(96 * factor))
    torch.testing.assert_close(moved["boxes"], target["boxes"] * round(96 * factor) / 96)
    assert (tight(moved["masks"]) - moved["boxes"]).abs().max() <= 1.5
    assert torch.equal(moved["area"], moved["masks"].flatten(1).sum(1).float())
    del target["masks"]
    _, plain = DetectionTransform([RandomScale(factor, factor)])(image, target)
    torch.testing.assert_close(plain["area"], target["area"] * (round(96 * factor) / 96) ** 2)


def test_crop_removes_what_is_outside_with_all_that_belongs_to_it():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    masks = torch.zeros(3, 40, 40, dtype=torch.uint8)
    masks[0, 0:10, 0:10], masks[1, 30:40, 30:40], masks[2, 5:35, 5:35] = 1, 1, 1
    target = {
        "boxes": tight(masks),
        "labels": torch.tensor([1, 2, 3]),
        "masks": masks,
        "area": torch.tensor([100.0, 100.0, 900.0]),
        "iscrowd": torch.tensor([0, 0, 1]),
        "image_id": 5,
    }
    corner = DetectionTransform([_CropCorner()])
    cropped, kept = corner(image, target)
    assert cropped.shape == (3, 20, 20)
    assert kept["labels"].tolist() == [1, 3] and kept["iscrowd"].tolist() == [0, 1] and kept["image_id"] == 5
    assert kept["boxes"].tolist() == [[0, 0, 10, 10], [5, 5, 20, 20]]
    assert kept["area"].tolist() == [100, 225] and kept["masks"].shape == (2, 20, 20)
    _, without = DetectionTransform([_CropCorner()], drop_crowd=True)(image, target)
    assert without["labels"].tolist() == [1]


class _CropCorner(v2.Transform):
    def transform(self, inpt, params):
        return v2.functional.crop(inpt, 0, 0, 20, 20)


def test_random_crops_keep_boxes_around_masks(tiny):
    torch.manual_seed(0)
    cut = train_transform(crop=(60, 50), scale=(0.7, 1.3))
    for index in range(len(tiny)):
        image, target = cut(*tiny[index])
        assert image.shape == (3, 60, 50)
        n = len(target["boxes"])
        assert all(len(target[key]) == n for key in ("labels", "masks", "area", "iscrowd"))
        boxes = target["boxes"]
        assert (boxes[:, 2:] - boxes[:, :2] >= 1).all() and (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= 50).all() and (boxes[:, [1, 3]] <= 60).all()
        outer = tight(target["masks"])
        assert ((outer[:, :2] - boxes[:, :2]) >= -1.5).all() and ((boxes[:, 2:] - outer[:, 2:]) >= -1.5).all()


def test_images_without_boxes(tiny):
    image, target = tiny[0]
    empty = {k: v[:0] if isinstance(v, torch.Tensor) else v for k, v in target.items()}
    _, result = train_transform(crop=(50, 50), scale=(0.5, 2.0), colour=0.2)(image, empty)
    assert result["boxes"].shape == (0, 4) and result["masks"].shape == (0, 50, 50)


def test_colour_changes_the_image_only(tiny):
    image, target = tiny[0]
    changed, same = train_transform(flip=0.0, colour=0.5)(image, target)
    assert not torch.equal(changed, image / 255)
    assert all(torch.equal(torch.as_tensor(same[k]), torch.as_tensor(target[k])) for k in target)


def test_training_drops_crowds_and_small_boxes():
    target = {
        "boxes": torch.tensor([[0.0, 0, 0.5, 0.5], [1, 1, 9, 9]]),
        "labels": torch.tensor([1, 2]),
        "area": torch.tensor([0.25, 64]),
        "iscrowd": torch.tensor([0, 1]),
    }
    assert train_transform()(torch.zeros(3, 10, 10, dtype=torch.uint8), target)[1]["boxes"].shape == (0, 4)


def test_wrong_scale():
    with pytest.raises(ValueError, match="expected"):
        train_transform(scale=(2.0, 1.0))


def test_in_a_loader_with_workers(tiny):
    loader = DataLoader(tiny.with_transform(train_transform()), batch_size=3, num_workers=1, collate_fn=collate)
    images, targets = next(iter(loader))
    assert len(images) == len(targets) == 3 and images[0].dtype == torch.float32
    assert tiny.transform is None

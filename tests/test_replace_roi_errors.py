"""What replace_roi refuses, and that nothing is changed then."""

from __future__ import annotations

import pytest
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision_models import build, single_level

import roikit


class TestErrors:
    """Nothing is changed by a refused replacement."""

    @pytest.fixture(scope="class")
    def model(self):
        return build(FasterRCNN)

    def refuse(self, model, message, *arguments, **settings):
        before = model.roi_heads.box_roi_pool
        with pytest.raises(ValueError, match=message):
            roikit.replace_roi(model, *arguments, **settings)
        assert model.roi_heads.box_roi_pool is before

    def test_another_grid(self, model):
        self.refuse(
            model, r"box head was built for 7×7 parts and RoIAlign gives 14×14: construct it", roikit.RoIAlign(14)
        )

    def test_a_head_that_is_not_there(self, model):
        self.refuse(model, "the model has no mask head", roikit.RoIAlign(7), mask=roikit.RoIAlign(14))

    def test_no_extractor(self, model):
        self.refuse(model, r"box must be a roikit.RegionExtractor such as roikit.RoIAlign\(\)", nn.Identity())
        self.refuse(model, "box is an empty list", [])

    def test_layers_for_other_channels(self, model):
        self.refuse(
            model, r"DeformRoIPool was made for 64 channels, but its maps have 256 .*: leave", roikit.DeformRoIPool(64)
        )
        layers = {"strides": {str(k): 4 * 2**k for k in range(4)}}
        self.refuse(model, "made for 64 channels, but its maps have 256", roikit.DeformRoIPool(64), **layers)

    def test_another_number_of_levels(self, model):
        self.refuse(model, "4 levels need one extractor, or one each, not 2", [roikit.RoIAlign(7)] * 2)
        mixed = [roikit.RoIAlign(7)] * 3 + [roikit.PSRoIAlign(7)]
        self.refuse(model, "mixes extractors that are position-sensitive with others", mixed)

    def test_missing_strides(self, model):
        self.refuse(model, "strides has no entry for the feature map '1'", roikit.RoIAlign(7), strides={"0": 4})

    def test_strides_of_a_map_that_is_not_there(self, model):
        strides = {"0": 4, "1": 8, "2": 16, "3": 32, "layer4": 64}
        self.refuse(model, "an entry for 'layer4', but the feature maps are", roikit.RoIAlign(7), strides=strides)
        self.refuse(single_level(channels=1), "no entry for the feature map '0'", roikit.RoIAlign(7), strides={"x": 8})

    def test_nothing_to_replace(self, model):
        self.refuse(model, "nothing to replace: give an extractor", None)
        masked = build(MaskRCNN)
        before = masked.roi_heads.box_roi_pool
        roikit.replace_roi(masked, None, mask=roikit.RoIAlign(14))
        assert masked.roi_heads.box_roi_pool is before
        assert isinstance(masked.roi_heads.mask_roi_pool, roikit.MultiScale)

    def test_the_advice_names_an_argument_that_there_is(self, model):
        self.refuse(model, r"construct it with output_size=\(7, 7\)", roikit.RoIAlign(14))
        self.refuse(model, "construct it so that it gives 7×7 parts or, where it cannot", roikit.SectorPool(3, 3))
        roikit.replace_roi(model, roikit.SectorPool(7, 7))

    def test_not_a_two_stage_detector(self):
        with pytest.raises(ValueError, match=r"Linear has no roi_heads.box_roi_pool"):
            roikit.replace_roi(nn.Linear(2, 2), roikit.RoIAlign(7))

    def test_a_wrong_mask_extractor_leaves_the_box_layer_alone(self):
        model = build(MaskRCNN)
        before = model.roi_heads.box_roi_pool
        with pytest.raises(ValueError, match="mask head was built for 14×14 parts"):
            roikit.replace_roi(model, roikit.RoIAlign(7), mask=roikit.RoIAlign(7))
        assert model.roi_heads.box_roi_pool is before

    def test_a_backbone_that_takes_no_colour_image(self):
        model = single_level(channels=1)
        self.refuse(model, "strides=", roikit.RoIAlign(7))
        roikit.replace_roi(model, roikit.RoIAlign(7), strides={"0": 8})

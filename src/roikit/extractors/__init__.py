"""One file per method, named as the field names it. ``EXTRACTORS`` is the listing: the laws, the command
line and the documentation read it."""

from .adaptive_roi_align import AdaptiveRoIAlign
from .base import RegionExtractor
from .center_pool import CenterPool
from .conv_mask_roi_align import ConvMaskRoIAlign
from .deform_ps_roi_pool import DeformPSRoIPool
from .deform_roi_pool import DeformRoIPool, ModulatedDeformRoIPool
from .grammar_pool import GrammarPool
from .learned_region_features import LearnedRegionFeatures
from .masked_roi_pool import MaskedRoIPool
from .part_deform_roi_pool import PartDeformRoIPool
from .pr_roi_pool import PrRoIPool
from .ps_roi_pool import PSRoIAlign, PSRoIPool
from .roi_align import RoIAlign
from .roi_attention import RoIAttention
from .roi_pool import RoIPool
from .roi_transformer import RoITransformer
from .roi_warp import RoIWarp
from .rotated_roi_align import RotatedRoIAlign
from .sector_pool import SectorPool
from .self_attention_roi_align import SelfAttentionRoIAlign
from .semantic_roi_align import SemanticRoIAlign
from .spatial_pyramid_pool import SpatialPyramidPool

EXTRACTORS: tuple[type[RegionExtractor], ...] = (
    RoIPool,
    RoIAlign,
    PrRoIPool,
    AdaptiveRoIAlign,
    RoIWarp,
    CenterPool,
    SpatialPyramidPool,
    MaskedRoIPool,
    DeformRoIPool,
    ModulatedDeformRoIPool,
    PartDeformRoIPool,
    PSRoIPool,
    PSRoIAlign,
    DeformPSRoIPool,
    RotatedRoIAlign,
    RoITransformer,
    SectorPool,
    LearnedRegionFeatures,
    GrammarPool,
    SemanticRoIAlign,
    RoIAttention,
    ConvMaskRoIAlign,
    SelfAttentionRoIAlign,
)

__all__ = [
    "EXTRACTORS",
    "AdaptiveRoIAlign",
    "CenterPool",
    "ConvMaskRoIAlign",
    "DeformPSRoIPool",
    "DeformRoIPool",
    "GrammarPool",
    "LearnedRegionFeatures",
    "MaskedRoIPool",
    "ModulatedDeformRoIPool",
    "PSRoIAlign",
    "PSRoIPool",
    "PartDeformRoIPool",
    "PrRoIPool",
    "RegionExtractor",
    "RoIAlign",
    "RoIAttention",
    "RoIPool",
    "RoITransformer",
    "RoIWarp",
    "RotatedRoIAlign",
    "SectorPool",
    "SelfAttentionRoIAlign",
    "SemanticRoIAlign",
    "SpatialPyramidPool",
]

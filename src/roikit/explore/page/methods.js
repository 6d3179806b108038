"use strict";
// What the page says of each method. `method` and `settings` are what rules.js takes; the code is lines of the package
// (a test looks them up), times are docs/methods/index.md's, RoI Align = 1.
(function (root) {
  const METHODS = [
    {
      key: "pool", name: "RoI Pooling", detail: "Caffe's rounding", extractor: "RoIPool", method: "RoIPool", settings: { rounding: "caffe" },
      year: 2015, paper: "Girshick, Fast R-CNN, ICCV 2015", link: "https://arxiv.org/abs/1504.08083",
      about: "The box is rounded to whole cells, then cut into bins that are rounded outwards to whole cells. A part is the largest value in its bin.",
      formula: "start = round(x₁σ) &nbsp; L = round(x₂σ) − start + 1 &nbsp; β = L/K<br>R<sub>i</sub> = [ ⌊iβ⌋ + start, ⌈(i+1)β⌉ + start )<br>y<sub>ij</sub> = max x(p), p ∈ R<sub>i</sub> × R<sub>j</sub>",
      code: ["y, h, x, w = corners(whole(cells))", "return y, (h + 1).clamp(min=1), x, (w + 1).clamp(min=1)", "return clip_window(floor(near) + lo, ceil(far) + lo, per_roi(cells, lo))"],
      page: "roi-pool", rounds: "twice: box, bins", off: "1½ cells; a bin 2.2", shape: "fixed grid", gradient: "no", cost: "O(k² · cells of a bin)", time: "2.4", parameters: "0", best: "classification, where position is not critical; models trained with it",
    },
    {
      key: "floor", name: "RoI Pooling", detail: "half-open rounding", extractor: "RoIPool", method: "RoIPool", settings: { rounding: "floor" },
      year: 2015, paper: "Girshick, Fast R-CNN, ICCV 2015", link: "https://arxiv.org/abs/1504.08083",
      about: "The formula of most explanations, and of the worked example below: both ends of every bin are rounded down. Bins never share a cell, and have one at least.",
      formula: "a = x₁σ &nbsp; β = (x₂ − x₁)σ / K<br>R<sub>i</sub> = [ ⌊a + iβ⌋, max(⌊a + (i+1)β⌋, ⌊a + iβ⌋ + 1) )<br>y<sub>ij</sub> = max x(p), p ∈ R<sub>i</sub> × R<sub>j</sub>",
      code: ["first = floor(lo + near)", "return clip_window(first, torch.maximum(floor(lo + far), first + 1), per_roi(cells, lo))"],
      page: "roi-pool", rounds: "the ends of bins", off: "1 cell", shape: "fixed grid", gradient: "no", cost: "O(k² · cells of a bin)", time: "2.4", parameters: "0", best: "explanations; code that slices arrays",
    },
    {
      key: "align", name: "RoI Align", detail: "aligned", extractor: "RoIAlign", method: "RoIAlign", settings: { aligned: true },
      year: 2017, paper: "He et al., Mask R-CNN, ICCV 2017", link: "https://arxiv.org/abs/1703.06870",
      about: "Nothing is rounded. Each bin takes the mean of S × S samples at exact places, each interpolated from the four cells around it.",
      formula: "v<sub>s</sub> = x₁σ − ½ + iβ + (s + ½)β/S &nbsp; g(t) = max(0, 1 − |t|)<br>w<sub>i</sub>(u) = 1/S · Σ<sub>s</sub> g(u − v<sub>s</sub>)<br>y<sub>ij</sub> = Σ w<sub>i</sub>(v) w<sub>j</sub>(u) x(v, u)",
      code: ["box = geometry.aligned(cells, self.aligned)", 'return Separable(*geometry.axes(box, self.output_size, "hat", self.sampling_ratio), rois)'],
      page: "roi-align", rounds: "no", off: "0", shape: "fixed grid", gradient: "yes", cost: "O(k² · S²), S² = 4", time: "1", parameters: "0", best: "the default: detection, masks, keypoints",
    },
    {
      key: "unaligned", name: "RoI Align", detail: "not aligned", extractor: "RoIAlign", method: "RoIAlign", settings: { aligned: false },
      year: 2017, paper: "He et al., Mask R-CNN, ICCV 2017", link: "https://arxiv.org/abs/1703.06870",
      about: "The first implementation forgets that a cell's value belongs to its centre: it reads half a cell too far to the lower right. Still torchvision's default.",
      formula: "v<sub>s</sub> = x₁σ + iβ + (s + ½)β/S, &nbsp; L ≥ 1<br>w<sub>i</sub>(u) = 1/S · Σ<sub>s</sub> g(u − v<sub>s</sub>)<br>y<sub>ij</sub> = Σ w<sub>i</sub>(v) w<sub>j</sub>(u) x(v, u)",
      code: ["y, h, x, w = corners(cells, 0.5 if align else 0.0)", "return (y, h, x, w) if align else (y, h.clamp(min=1), x, w.clamp(min=1))"],
      page: "roi-align", rounds: "no", off: "½ cell, always", shape: "fixed grid", gradient: "yes", cost: "O(k² · S²), S² = 4", time: "1", parameters: "0", best: "models that were trained so",
    },
    {
      key: "precise", name: "Precise RoI Pooling", detail: "", extractor: "PrRoIPool", method: "PrRoIPool", settings: {},
      year: 2018, paper: "Jiang et al., IoU-Net, ECCV 2018", link: "https://arxiv.org/abs/1807.11590",
      about: "The limit of ever more samples: the exact mean of the interpolated map over the bin. No number of samples to choose; it has no ½ shift.",
      formula: "g(t) = max(0, 1 − |t|)<br>w<sub>i</sub>(u) = 1/β · ∫ g(u − t) dt, &nbsp; t from x₁σ + iβ to x₁σ + (i+1)β<br>y<sub>ij</sub> = Σ w<sub>i</sub>(v) w<sub>j</sub>(u) x(v, u)",
      code: ["s0, s1, s2 = (((kink - p) / beta).clamp(0, 1) for kink in (-1, 0, 1))", "return (s1 - s0) * (1 + p + beta * (s0 + s1) / 2) + (s2 - s1) * (1 - p - beta * (s1 + s2) / 2)"],
      page: "pr-roi-pool", rounds: "no", off: "½ cell, always", shape: "fixed grid", gradient: "yes, exact", cost: "O(k² · cells of a bin)", time: "1.0", parameters: "0", best: "large regions on fine maps; optimising a box",
    },
    {
      key: "adaptive", name: "Adaptive RoI Align", detail: "", extractor: "AdaptiveRoIAlign", method: "AdaptiveRoIAlign", settings: {},
      year: 2018, paper: "Jung et al., Real-Time MDNet, ECCV 2018", link: "https://arxiv.org/abs/1808.08834",
      about: "One point a bin, interpolated between cells that are as far apart as the bin is wide, so that it stands for all of it.",
      formula: "v = x₁σ + iβ &nbsp; h = ⌊v⌋ &nbsp; δ = max(1, round(β))<br>w<sub>i</sub>(u) = 1 − |u − v|/δ &nbsp; at u = h, h + δ<br>y<sub>ij</sub> = Σ w<sub>i</sub>(v) w<sub>j</sub>(u) x(v, u)",
      code: ["reach = torch.floor(beta.detach() + 0.5).clamp(min=1)  # β > 0 where it counts: half away from zero", "part = (at - low) / reach"],
      page: "adaptive-roi-align", rounds: "the reach", off: "½ cell, 1½ at the end", shape: "fixed grid", gradient: "yes", cost: "O(k² · 4)", time: "1.0", parameters: "0", best: "tracking: many boxes, tight time",
    },
    {
      key: "deform", name: "Deformable RoI Pooling", detail: "drag a bin", extractor: "DeformRoIPool", method: "DeformRoIPool", settings: {},
      year: 2017, paper: "Dai et al., Deformable ConvNets, ICCV 2017", link: "https://arxiv.org/abs/1703.06211",
      about: "RoI Align whose bins move. In a detector a small layer says the offsets from the region's own features; here you drag the dot of a bin.",
      formula: "Δ<sub>ij</sub> = γ · (h·δy<sub>ij</sub>, w·δx<sub>ij</sub>), &nbsp; γ = 0.1, &nbsp; δ = fc(pooled features)<br>y<sub>ij</sub> = mean of bilinear(x, p + Δ<sub>ij</sub>) over the bin's samples p",
      code: ["sides = torch.stack([box[1], box[3]], 1)[..., None, None]", "shift = gamma * sides * offset.to(sides.dtype)", 'rows, cols = geometry.bins(box, grid, "hat", sampling_ratio, shift)'],
      page: "deform-roi-pool", rounds: "no", off: "learned", shape: "moved bins", gradient: "yes", cost: "O(k² · 4 + fc)", time: "7.3", parameters: "O(k²·C·k²), 1.2 M", best: "objects whose parts move, keypoints, occlusion",
    },
    {
      key: "rotated", name: "Rotated RoI Align", detail: "turn the handle", extractor: "RotatedRoIAlign", method: "RotatedRoIAlign", settings: {},
      year: 2019, paper: "Ding et al., RoI Transformer, CVPR 2019", link: "https://arxiv.org/abs/1812.00155",
      about: "RoI Align in a turned box: samples lie on the box's own grid, so the features turn with the object.",
      formula: "x = c<sub>x</sub> + u·cos θ + v·sin θ<br>y = c<sub>y</sub> + v·cos θ − u·sin θ<br>y<sub>ij</sub> = mean of bilinear(x, y) over the bin's samples (u, v)",
      code: ["x = (cx * across - shift)[:, None, None, None] + (u * (cos * across)[:, None, None])[:, None]", "x = x + (v * (sin * across)[:, None, None])[:, :, None]"],
      page: "rotated-roi-align", rounds: "no", off: "0", shape: "turned grid", gradient: "yes, angle too", cost: "O(k² · S²)", time: "1.4", parameters: "0 (given boxes)", best: "aerial images, text, anything at an angle",
    },
    {
      key: "semantic", name: "Semantic RoI Align", detail: "recorded", extractor: "SemanticRoIAlign", recorded: "SemanticRoIAlign",
      year: 2024, paper: "Yang et al., AAAI 2024", link: "https://arxiv.org/abs/2312.09609",
      about: "A part is a learned mask over the region: it looks for a part of the object, wherever that lies. Recorded from a trained detector, the nearest of its recorded boxes is shown.",
      formula: "M<sub>k</sub>(p) = φ<sub>k</sub>([d, S(p), P(p)])<br>w<sub>k</sub>(p) = softmax<sub>p</sub>( γ M<sub>k</sub>(p) )<br>y<sub>k</sub> = Σ<sub>p</sub> w<sub>k</sub>(p) F(p)",
      code: ["return Composed(self.attention(rows, grid).to(cells.dtype), inner, self.output_size, sampled, features)"],
      page: "semantic-roi-align", rounds: "no", off: "learned", shape: "learned masks", gradient: "yes", cost: "O(k² · 64 cells · 256)", time: "38", parameters: "0.2 M", best: "objects that turn, loose boxes",
    },
    {
      key: "learned", name: "Learned Region Features", detail: "recorded", extractor: "LearnedRegionFeatures", recorded: "LearnedRegionFeatures",
      year: 2018, paper: "Gu et al., ECCV 2018", link: "https://arxiv.org/abs/1803.07066",
      about: "The weights themselves are learned: a softmax over cells of where the cell is in the box, and of what it shows. Recorded from a trained detector.",
      formula: "w<sub>k</sub>(p) = softmax<sub>p</sub>( G<sub>k</sub>(b, p) + A<sub>k</sub>(x, p) )<br>G<sub>k</sub> = ⟨W<sub>k</sub> E(b), V E(p)⟩ &nbsp; A<sub>k</sub> = U<sub>k</sub>·x(p)<br>y<sub>k</sub> = Σ<sub>p</sub> w<sub>k</sub>(p) x(p)",
      code: ["queries = None if self.position is None else self.embed_boxes(boxes)", "return Attention(rows, cols, rois, self.output_size, self.biases(maps), samples)"],
      page: "learned-region-features", rounds: "no", off: "learned", shape: "learned masks", gradient: "yes", cost: "O(k² · |Ω| · 256)", time: "28", parameters: "7.8 M", best: "context; to see what a region needs",
    },
  ];

  // The timeline, with methods that the page has no picture of; `key` opens the page's own.
  const TIMELINE = [
    [2014, "Spatial pyramid pooling", "He et al., SPP-net, ECCV 2014", "https://arxiv.org/abs/1406.4729", "one map for all regions, pooled on 4 × 4, 2 × 2 and 1 × 1 grids", null],
    [2015, "RoI Pooling", "Girshick, Fast R-CNN, ICCV 2015", "https://arxiv.org/abs/1504.08083", "one grid; trained end to end", "pool"],
    [2016, "RoI Warping", "Dai et al., MNC, CVPR 2016", "https://arxiv.org/abs/1512.04412", "bilinear samples, so a gradient reaches the box", null],
    [2016, "Position-sensitive", "Dai et al., R-FCN, NeurIPS 2016", "https://arxiv.org/abs/1605.06409", "every bin reads maps of its own: the head is free", null],
    [2017, "RoI Align", "He et al., Mask R-CNN, ICCV 2017", "https://arxiv.org/abs/1703.06870", "no rounding: masks become exact", "align"],
    [2017, "Deformable", "Dai et al., Deformable ConvNets, ICCV 2017", "https://arxiv.org/abs/1703.06211", "bins move by learned offsets", "deform"],
    [2018, "Precise RoI Pooling", "Jiang et al., IoU-Net, ECCV 2018", "https://arxiv.org/abs/1807.11590", "the integral: exact gradients to the box", "precise"],
    [2018, "Adaptive RoI Align", "Jung et al., RT-MDNet, ECCV 2018", "https://arxiv.org/abs/1808.08834", "interpolation as wide as the bin", "adaptive"],
    [2018, "Learned Region Features", "Gu et al., ECCV 2018", "https://arxiv.org/abs/1803.07066", "the weights are learned", "learned"],
    [2019, "Modulated deformable", "Zhu et al., DCNv2, CVPR 2019", "https://arxiv.org/abs/1811.11168", "bins move, and fade", null],
    [2019, "RoI Transformer", "Ding et al., CVPR 2019", "https://arxiv.org/abs/1812.00155", "boxes that turn", "rotated"],
    [2024, "Semantic RoI Align", "Yang et al., AAAI 2024", "https://arxiv.org/abs/2312.09609", "masks that follow the object", "semantic"],
  ];

  // The map of "Region of interest pooling explained" (deepsense.ai, 2017)
  const ARTICLE = [
    0.88, 0.44, 0.14, 0.16, 0.37, 0.77, 0.96, 0.27, 0.19, 0.45, 0.57, 0.16, 0.63, 0.29, 0.71, 0.7,
    0.66, 0.26, 0.82, 0.64, 0.54, 0.73, 0.59, 0.26, 0.85, 0.34, 0.76, 0.84, 0.29, 0.75, 0.62, 0.25,
    0.32, 0.74, 0.21, 0.39, 0.34, 0.03, 0.33, 0.48, 0.2, 0.14, 0.16, 0.13, 0.73, 0.65, 0.96, 0.32,
    0.19, 0.69, 0.09, 0.86, 0.88, 0.07, 0.01, 0.48, 0.83, 0.24, 0.97, 0.04, 0.24, 0.35, 0.5, 0.91,
  ];

  root.methods = { ARTICLE, METHODS, TIMELINE };
})(globalThis.roikit);

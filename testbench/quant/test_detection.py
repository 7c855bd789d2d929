"""Detection and segmentation of torchvision on a quantized Swin backbone.

The heads are random; what counts is that they run on the features of either level, and how far the
levels are apart.
"""

import importlib
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rootshift.artifact import Artifact
from rootshift.quant.extractors import feature_extractor
from rootshift.quant.features import FeatureBackbone
from rootshift.quant.models import load_model
from rootshift.sim.golden.model import GoldenModel

from .exported import Exported, exported, shaded_pixels
from .features import correlation, float_maps, images_of
from .levels import within_a_step
from .small_swin import small_swin

# After the guard in rootshift.quant, without which torchvision does not import beside a CPU torch.
timm = importlib.import_module("timm")
extension = importlib.import_module("torchvision.extension")
detection = importlib.import_module("torchvision.models.detection")
segmentation = importlib.import_module("torchvision.models.segmentation.fcn")
ops = importlib.import_module("torchvision.ops")

CLASSES = 4


def suppressed(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Numbers of the boxes that overlap none of a higher score by more than `threshold`, the best
    first."""
    overlaps = ops.box_iou(boxes, boxes) > threshold
    kept: list[int] = []
    for number in scores.argsort(descending=True, stable=True).tolist():
        if not overlaps[number, kept].any():
            kept.append(number)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.fixture(scope="module", autouse=True)
def detection_operators() -> Iterator[None]:
    """torchvision's own operators; where its extension does not load beside this torch, its region
    pooling in plain torch, and non-maximum suppression from its definition."""
    if extension._has_ops():
        yield
        return
    library = torch.library.Library("torchvision", "IMPL")
    library.impl("nms", suppressed, "CPU")
    with pytest.MonkeyPatch.context() as patch:
        # The region pooling would otherwise be compiled, which takes long.
        patch.setattr(torch, "compile", lambda function, **options: function)
        patch.setattr("torchvision.ops.boxes._assert_has_ops", lambda: None)
        yield
    library._destroy()


class Pyramid(nn.Module):
    """A backbone and torchvision's feature pyramid on it."""

    out_channels = 16

    def __init__(self, body: FeatureBackbone) -> None:
        super().__init__()
        self.body = body
        pool = ops.feature_pyramid_network.LastLevelMaxPool()
        self.fpn = ops.FeaturePyramidNetwork(body.channels, self.out_channels, pool)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Maps of `out_channels` channels, the last one pooled."""
        return self.fpn(self.body(images))


class Last(nn.Module):
    """The last map under the name that torchvision's segmentation takes."""

    def __init__(self, body: FeatureBackbone) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """One map."""
        return {"out": list(self.body(images).values())[-1]}


def detector(body: FeatureBackbone) -> nn.Module:
    """Mask R-CNN with random heads, in eval mode."""
    torch.manual_seed(0)
    maps = [str(number) for number in range(len(body.channels))]
    side = body.artifact.preprocessing.height
    sizes = tuple((side / 2 ** (len(maps) - number),) for number in range(len(maps) + 1))
    anchors = detection.anchor_utils.AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    return detection.MaskRCNN(
        Pyramid(body),
        CLASSES,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        fixed_size=(side, side),
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_train=20,
        rpn_post_nms_top_n_test=20,
        box_roi_pool=ops.MultiScaleRoIAlign(maps, 7, 2),
        mask_roi_pool=ops.MultiScaleRoIAlign(maps, 14, 2),
        box_score_thresh=0.0,
        box_detections_per_img=5,
    ).eval()


def both_levels(artifact: Artifact) -> dict[str, FeatureBackbone]:
    """The backbone at the fake and at the integer level."""
    golden = GoldenModel(artifact)
    return {
        "fake": FeatureBackbone(artifact),
        "integer": FeatureBackbone(artifact, lambda pixels: golden.run(pixels).outputs),
    }


def check_detections(found: list[dict[str, Tensor]], sides: list[tuple[int, int]]) -> None:
    """Boxes, labels, scores and masks of random heads, in the images' own sizes."""
    for each, (height, width) in zip(found, sides, strict=True):
        count = len(each["boxes"])
        assert 0 < count <= 5
        assert each["boxes"].shape == (count, 4)
        assert each["labels"].shape == each["scores"].shape == (count,)
        assert each["masks"].shape == (count, 1, height, width)
        assert ((each["labels"] > 0) & (each["labels"] < CLASSES)).all()
        assert ((each["masks"] >= 0) & (each["masks"] <= 1)).all()
        assert (each["boxes"][:, 2:] > each["boxes"][:, :2]).all()
        assert (each["boxes"] >= 0).all()
        assert each["boxes"].max() <= max(height, width)


@pytest.fixture(scope="module")
def small() -> Exported:
    """A Swin backbone of three stages at 8 bits."""
    model = small_swin(2, img_size=64, depths=(2, 2, 2), num_heads=(1, 2, 4), embed_dim=12)
    extractor = feature_extractor(model, (0, 1, 2))
    return exported(extractor, shaded_pixels(extractor, 16, 3), "W8A8", method="repq")


def check_levels(made: Exported, pixels: np.ndarray) -> list[float]:
    """Integer features against those of the fake level, and both against timm's in float.

    On the same inputs, no operator's code is more than one off. From image to map such differences
    add up, most of all where one code of a softmax, a factor of the root of two, falls otherwise;
    still the integers are nearer to the fake level than that is to float.
    Returns, for each map, how far the levels are apart on average, in codes of 8 bits that span it.
    """
    within_a_step(made.artifact, pixels)
    images = images_of(pixels)
    maps = {level: body(images) for level, body in both_levels(made.artifact).items()}
    apart = []
    for key, want in zip(maps["fake"], float_maps(made.model, pixels), strict=True):
        fake, integer = maps["fake"][key], maps["integer"][key]
        assert fake.shape == integer.shape == want.shape
        codes = (fake - integer).abs() / ((fake.max() - fake.min()) / 255)
        near = (codes <= 1).float().mean()
        print(f"map {key}: {codes.mean():.3f} codes apart, {codes.max():.2f} at most, {near:.1%} 1")
        apart.append(codes.mean().item())
        assert (fake - integer).square().mean() < (fake - want).square().mean()
        assert correlation(fake, want) > 0.998
        assert correlation(integer, want) > 0.998
    return apart


def check_detector(made: Exported) -> None:
    """Boxes, labels, scores and masks on images of other sizes, at both levels."""
    sides = [(50, 80), (97, 64)]
    generator = torch.Generator().manual_seed(6)
    images = [torch.rand(3, *side, generator=generator) for side in sides]
    for body in both_levels(made.artifact).values():
        with torch.no_grad():
            check_detections(detector(body)(images), sides)


def test_suppression_keeps_what_its_definition_says() -> None:
    boxes = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 1, 10, 10], [0, 5, 10, 15]]
    ).float()
    scores = torch.tensor([0.5, 0.9, 0.1, 0.8, 0.7])
    # Overlaps with the best one: .9, -, 0, .8, 4/15.
    assert ops.nms(boxes, scores, 0.5).tolist() == [1, 4, 2]
    assert ops.nms(boxes, scores, 0.85).tolist() == [1, 3, 4, 2]
    assert ops.nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_integer_features_are_those_of_the_fake_level(small: Exported) -> None:
    check_levels(small, shaded_pixels(small.model, 3, 4))


def test_mask_rcnn_runs_on_both_levels(small: Exported) -> None:
    check_detector(small)


def test_the_heads_of_a_detector_can_be_trained(small: Exported) -> None:
    model = detector(both_levels(small.artifact)["integer"]).train()
    images = list(images_of(shaded_pixels(small.model, 2, 5)))
    target = {
        "boxes": torch.tensor([[8.0, 8, 40, 48]]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, 64, 64, dtype=torch.uint8),
    }
    sum(model(images, [target, target]).values()).backward()
    for name in ("backbone.fpn.inner_blocks.0.0", "roi_heads.box_predictor.cls_score"):
        assert model.get_submodule(name).weight.grad.abs().sum() > 0, name


def test_fully_convolutional_segmentation_runs_on_both_levels(small: Exported) -> None:
    torch.manual_seed(0)
    images = images_of(shaded_pixels(small.model, 2, 5))
    found = {}
    for level, body in both_levels(small.artifact).items():
        torch.manual_seed(0)
        head = segmentation.FCNHead(body.channels[-1], CLASSES)
        with torch.no_grad():
            found[level] = segmentation.FCN(Last(body), head).eval()(images)["out"]
        assert found[level].shape == (2, CLASSES, 64, 64)
    assert correlation(found["fake"], found["integer"]) > 0.998


@pytest.mark.slow
def test_swin_tiny_whole(tmp_path) -> None:
    """Swin-T at its own size from a classifier's checkpoint, weights random."""
    name = "swin_tiny_patch4_window7_224"
    torch.manual_seed(0)
    path = tmp_path / "swin.safetensors"
    save_file(timm.create_model(name, num_classes=2).state_dict(), path)
    model = load_model(name, path, features=(0, 1, 2, 3))
    made = exported(model, shaded_pixels(model, 4, 3), "W8A8", method="repq")
    assert [output.grid for output in made.artifact.outputs] == [
        (56,) * 2,
        (28,) * 2,
        (14,) * 2,
        (7,) * 2,
    ]
    assert max(check_levels(made, shaded_pixels(model, 1, 4))) < 1
    check_detector(made)

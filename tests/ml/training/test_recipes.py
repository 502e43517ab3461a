"""The published data sets, read from tiny folders of the same layout."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ml.data.datasets import BadDataset
from ml.evaluation.metrics import evaluate_retrieval
from ml.training import recipes
from ml.training.config import preset_config
from ml.training.train import train
from tests.ml.conftest import write_image


def write_cub(root):
    folder = root / "CUB_200_2011"
    names = {
        1: "001.Black_footed_Albatross",
        100: "100.Brown_Pelican",
        101: "101.White_Pelican",
        200: "200.Yellowthroat",
    }
    images, labels = [], []
    for label, name in names.items():
        for image in range(2):
            number = len(images) + 1
            images.append(f"{number} {name}/{image}.jpg")
            labels.append(f"{number} {label}")
            write_image(folder / "images" / name / f"{image}.jpg", seed=number)
    (folder / "images.txt").write_text("\n".join(images) + "\n")
    (folder / "image_class_labels.txt").write_text("\n".join(labels) + "\n")


def _cars(root):
    kinds = [("relative_im_path", object), ("bbox_x1", int), ("class", int), ("test", int)]
    rows = []
    for number, label in enumerate([1, 1, 98, 98, 99, 99, 196, 196], 1):
        write_image(root / "car_ims" / f"{number:06d}.jpg", seed=number)
        rows.append((f"car_ims/{number:06d}.jpg", 5, label, 0))
    savemat(root / "cars_annos.mat", {"annotations": np.array(rows, dtype=kinds), "class_names": ["a"]})


def _sop(root):
    folder = root / "Stanford_Online_Products"
    for name, first in (("Ebay_train.txt", 1), ("Ebay_test.txt", 11319)):
        lines = ["image_id class_id super_class_id path"]
        for image in range(4):
            label = first + image // 2
            path = f"bicycle_final/{label}_{image}.JPG"
            write_image(folder / path, seed=label * 10 + image)
            lines.append(f"{image + 1} {label} 1 {path}")
        (folder / name).write_text("\n".join(lines) + "\n")


def _inshop(root):
    rows = []
    for item, parts in {1: "train train", 2: "train train", 3: "query gallery gallery", 4: "query gallery"}.items():
        for image, part in enumerate(parts.split()):
            path = f"img/WOMEN/Dresses/id_{item:08d}/0{image}_1_front.jpg"
            write_image(root / "Img" / path, seed=item * 10 + image)
            rows.append(f"{path}   id_{item:08d}   {part}")
    (root / "Eval").mkdir()
    (root / "Eval" / "list_eval_partition.txt").write_text(
        f"{len(rows)}\nimage_name item_id evaluation_status\n" + "\n".join(rows) + "\n"
    )


LAYOUTS = {"cub200": write_cub, "cars196": _cars, "sop": _sop, "inshop": _inshop}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_published_layout_gives_the_papers_split(tmp_path, name):
    LAYOUTS[name](tmp_path)
    splits = recipes.RECIPES[name].read(tmp_path)
    assert len(splits.train) > 0 and not splits.train.left_out and not splits.test.left_out
    assert not set(splits.train.classes) & set(splits.test.classes)
    expected = {"cub200": (["001", "100"], ["101", "200"]), "cars196": (["001", "098"], ["099", "196"])}
    if name in expected:
        assert (list(splits.train.classes), list(splits.test.classes)) == expected[name]
    if name == "inshop":
        assert (len(splits.test), len(splits.gallery)) == (2, 3)
        assert splits.test.classes == splits.gallery.classes
    else:
        assert splits.gallery is None


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_an_empty_folder_says_what_is_missing(tmp_path, name):
    with pytest.raises(BadDataset, match="holds no"):
        recipes.RECIPES[name].read(tmp_path)


def test_a_malformed_list_names_its_line(tmp_path):
    _sop(tmp_path)
    (tmp_path / "Stanford_Online_Products" / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n1 2\n")
    with pytest.raises(BadDataset, match="line 2: 2 columns instead of 4"):
        recipes.read_sop(tmp_path)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_settings_are_those_of_the_paper(name):
    config = recipes.RECIPES[name].config
    assert config.backbone.startswith("resnet50")
    assert (config.train_px, config.dim, config.temperature) == (224, 2048, 0.05)
    assert config.classes_per_batch * config.images_per_class == 75
    assert config.images_per_class == (25 if name in ("cub200", "cars196") else 5)


def test_queries_are_measured_against_the_gallery_alone(tmp_path):
    _inshop(tmp_path / "data")
    splits = recipes.read_inshop(tmp_path / "data")
    result = train(preset_config("fast", test_px=64, dim=8, mirror=False), splits.train, tmp_path / "runs")
    figures = recipes.measure(result.bundle.directory, splits, ks=(1, 2))
    from ml.model import embedder

    loaded = embedder.load(result.bundle.directory)
    query, gallery = (torch.from_numpy(_embedded(loaded, part)) for part in (splits.test, splits.gallery))
    expected = evaluate_retrieval(
        query, torch.from_numpy(splits.test.labels), gallery, torch.from_numpy(splits.gallery.labels), ks=(1, 2)
    )
    assert figures["recall@1"] == expected.recall[1]
    assert {"recall@2", "map@r", "binary_recall@1"} <= set(figures)


def _embedded(loaded, data):
    from ml import images

    return loaded.embed(
        [images.decode(path.read_bytes(), min_side=loaded.preprocessing.min_side) for path in data.paths]
    )

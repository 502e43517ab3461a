"""Labelled images: what is read, left out, refused and split."""

import os
from pathlib import Path

import pytest

from ml.data import datasets, notes
from ml.data.datasets import BadDataset
from tests.ml.conftest import write_image


def _folder(tmp_path, counts, seed=0):
    for number, (name, count) in enumerate(counts.items()):
        for image in range(count):
            write_image(tmp_path / name / f"{image}.jpg", seed=seed + 100 * number + image)
    return tmp_path


def test_a_folder_per_class_is_read_in_order(tmp_path):
    data = datasets.load(_folder(tmp_path, {"mug": 2, "apple": 3}))
    assert data.classes == ("apple", "mug")
    assert data.counts.tolist() == [3, 2]
    assert [path.parent.name for path in data.paths] == ["apple"] * 3 + ["mug"] * 2


def test_deeper_folders_belong_to_the_first_one(tmp_path):
    write_image(tmp_path / "a" / "front" / "1.jpg")
    write_image(tmp_path / "b" / "2.jpg", seed=1)
    assert datasets.load(tmp_path).classes == ("a", "b")


def test_what_is_no_image_is_left_out_and_listed(tmp_path):
    _folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "b" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    write_image(tmp_path / "stray.jpg")
    data = datasets.load(tmp_path)
    reasons = {left.path.name: left.reason for left in data.left_out}
    assert set(reasons) == {"notes.txt", "empty.jpg", "stray.jpg"}
    assert reasons["empty.jpg"] == "is empty"
    assert "no class" in reasons["stray.jpg"]
    assert any("left out" in line for line in notes.remarks(data))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "is empty"),
        (lambda p: (p / "a").mkdir(), "is empty"),
        (lambda p: (p / "a").mkdir() or (p / "a" / "x.txt").write_text("x"), "no image that can be read"),
        (lambda p: write_image(p / "train" / "a" / "1.jpg"), "holds splits"),
    ],
)
def test_folders_without_data_are_refused_and_say_why(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(BadDataset, match=message):
        datasets.load(tmp_path)


def test_photos_without_class_folders_are_told_how_to_lie(tmp_path: Path) -> None:
    write_image(tmp_path / "flat" / "1.jpg")
    with pytest.raises(BadDataset, match=r"flat lie in no class's folder, for example 1\.jpg") as refused:
        datasets.load(tmp_path / "flat")
    assert refused.value.hint.startswith("one folder per class") and "flat/mug/front.jpg" in refused.value.hint


def test_the_folder_of_one_class_is_told_the_folder_above(tmp_path: Path) -> None:
    _folder(tmp_path / "photos", {"mug": 1, "apple": 1})
    with pytest.raises(BadDataset, match="lie in no class's folder") as refused:
        datasets.load(tmp_path / "photos" / "mug")
    assert refused.value.hint.endswith(f": {tmp_path / 'photos'}")
    write_image(tmp_path / "photos" / "train" / "1.jpg")
    with pytest.raises(BadDataset) as refused:
        datasets.load(tmp_path / "photos" / "train")
    assert refused.value.hint.startswith("one folder per class"), "splits are no classes"


def test_files_beside_class_folders_that_are_no_photos_stay_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(BadDataset, match="holds no image that can be read"):
        datasets.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadDataset, match="there is no"):
        datasets.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("counts", "message"), [({"a": 5}, "one class, 'a'"), ({"a": 1, "b": 1}, "no class of .* has two images")]
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, counts, message):
    with pytest.raises(BadDataset, match=message):
        datasets.check_trainable(datasets.load(_folder(tmp_path, counts)))


def test_identical_images_everywhere_are_refused(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        write_image(tmp_path / name, seed=7)
    data = datasets.load(tmp_path)
    with pytest.raises(BadDataset, match="all images"):
        datasets.check_trainable(data)
    assert any("more than one class" in line for line in notes.remarks(data))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>".replace("/", "∕"), "ünï côdé 日本", "a,b\"c'd", "-rf *"])
def test_labels_with_odd_characters_are_kept_as_they_are(tmp_path, name):
    _folder(tmp_path, {name: 2, "z": 2})
    assert name in datasets.load(tmp_path).classes


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="the file system takes no such names")
def test_a_label_of_broken_bytes_still_has_a_fingerprint(tmp_path):
    write_image(tmp_path / "ok" / "1.jpg")
    write_image(tmp_path / os.fsdecode(b"caf\xe9") / "1.jpg", seed=1)
    assert len(datasets.load(tmp_path).fingerprint) == 64


def test_a_csv_is_read_relative_to_itself_and_by_split(tmp_path):
    for number in range(4):
        write_image(tmp_path / "p" / f"{number}.jpg", seed=number)
    table = tmp_path / "data.csv"
    table.write_text(
        'path,label,split\np/0.jpg,a,train\np/1.jpg,a,train\np/2.jpg,"b, c",test\np/3.jpg,,test\n', encoding="utf-8-sig"
    )
    assert datasets.splits(table) == {"train", "test"}
    assert datasets.load(table).classes == ("a", "b, c")
    test = datasets.load(table, split="test")
    assert len(test) == 1
    assert (test.left_out[0].reason, test.left_out[0].line) == ("has no label", 5)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_may_be_separated_as_spreadsheets_do(tmp_path, separator, end):
    for number in range(4):
        write_image(tmp_path / f"{number}, {number}.jpg", seed=number)
    rows = [
        ("label", "path"),
        *(("Lemon" if number < 2 else "Lime, x", f"{number}, {number}.jpg") for number in range(4)),
    ]
    lines = [separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in rows]
    (tmp_path / "d.csv").write_text(end.join([*lines, "", ""]), newline="")
    found = datasets.load(tmp_path / "d.csv")
    assert (found.classes, len(found)) == (("Lemon", "Lime, x"), 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("where,label\nx,y\n", "no column 'path'; separated by commas it has 'where', 'label'"),
        ("data/a.jpg;Lemon\n", "no column 'path'; separated by semicolons it has"),
        ("path:label\nx:y\n", "no column 'path'"),
        ("", "no column 'path'"),
        ("path;label\ngone.jpg;a\n", "No such file"),
    ],
)
def test_a_bad_csv_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(BadDataset, match=message):
        datasets.load(tmp_path / "d.csv")


def test_the_fingerprint_depends_on_content_and_label_alone(tmp_path):
    first = datasets.load(_folder(tmp_path / "one", {"a": 2, "b": 2}))
    second = datasets.load(_folder(tmp_path / "two", {"a": 2, "b": 2}))
    other = datasets.load(_folder(tmp_path / "three", {"a": 2, "c": 2}))
    (tmp_path / "two" / "a" / "0.jpg").rename(tmp_path / "two" / "a" / "zzz.jpg")
    assert first.fingerprint == second.fingerprint == datasets.load(tmp_path / "two").fingerprint
    assert first.fingerprint != other.fingerprint


def test_a_split_by_class_holds_out_whole_classes(tmp_path):
    data = datasets.load(_folder(tmp_path, {f"c{n}": 2 for n in range(10)}))
    rest, held = datasets.split_by_class(data, 0.3, seed=1)
    assert len(held.classes) == 3
    assert not set(held.classes) & set(rest.classes)
    assert len(rest) + len(held) == len(data)
    assert held.classes == datasets.split_by_class(data, 0.3, seed=1)[1].classes


def test_too_few_classes_are_not_split(tmp_path):
    data = datasets.load(_folder(tmp_path, {"a": 2, "b": 2, "c": 2}))
    assert datasets.split_by_class(data, 0.5) == (data, None)


def test_a_split_by_image_keeps_every_class_in_training(tmp_path):
    data = datasets.load(_folder(tmp_path, {"a": 5, "b": 2, "lonely": 1}))
    rest, held = datasets.split_by_image(data, 0.4)
    assert rest.classes == ("a", "b", "lonely")
    assert rest.counts.tolist() == [3, 1, 1]
    assert held.classes == ("a", "b")

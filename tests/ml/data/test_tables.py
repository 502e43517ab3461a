"""Tables as people have them: delimiters, headers and splits are found, and no row vanishes without a reason."""

import os

import numpy as np
import pytest

from ml.data import datasets, notes, tables
from ml.data.tables import BadTable
from tests.ml.conftest import write_image


def _table(folder, text, name="data.csv", encoding="utf-8"):
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,Lemon\n",
        "path;label\r\na.jpg;Lemon\r\n",
        "label\tpath\nLemon\ta.jpg\n",
        " Path | Label \n a.jpg |Lemon\n",
        "filename,class\na.jpg,Lemon\n\n",
        '"image";"weight, kg";"category"\n"a.jpg";"1,5";"Lemon"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiter_and_columns_are_found(tmp_path, text, encoding):
    (row,) = tables.read(_table(tmp_path, text, encoding=encoding)).rows
    assert (row.path, row.label, row.unusable) == (tmp_path / "a.jpg", "Lemon", "")


def test_a_header_that_is_not_understood_is_named_with_its_delimiter(tmp_path):
    with pytest.raises(BadTable, match="separated by semicolons it has 'where', 'what'") as caught:
        tables.read(_table(tmp_path, "where;what\na.jpg;Lemon\n"))
    assert "filename" in caught.value.hint


def test_what_is_no_table_says_so(tmp_path):
    with pytest.raises(BadTable, match="no text in UTF-8"):
        tables.read(_table(tmp_path, "path,label\n\xe9,b\n", encoding="latin-1"))
    with pytest.raises(BadTable, match="no column 'path'"):
        tables.read(_table(tmp_path, ""))


def test_every_row_is_used_or_counted_by_its_reason(tmp_path):
    for name in "abcdefgh":
        write_image(tmp_path / f"{name}.jpg", seed=ord(name))
    rows = ["a.jpg,x,train", "b.jpg,x,Training", "c.jpg,y,train", "d.jpg,y,valid", "e.jpg,x,test"]
    rows += ["f.jpg,x,extra", "g.jpg,x,", "h.jpg,,train", ",x,train", "g\0.jpg,x,train"]
    data = datasets.load(_table(tmp_path, "path,label,split\n" + "\n".join(rows)), split="train")
    assert [path.name for path in data.paths] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert data.held is not None and data.held.tolist() == [False, False, False, True]
    assert {(left.place, left.reason) for left in data.left_out} == {
        ("f.jpg (line 7)", "has the split 'extra', which is none of train, val and test"),
        ("g.jpg (line 8)", "has no split"),
        ("h.jpg (line 9)", "has no label"),
        ("data.csv (line 10)", "has no path"),
        ("data.csv (line 11)", "has a path that no file can have"),
    }
    remarks = "\n".join(notes.remarks(data))
    assert "1 left out, for example g.jpg (line 8): has no split" in remarks


def test_rows_with_one_reason_are_one_note(tmp_path):
    for name in "abcdef":
        write_image(tmp_path / f"{name}.jpg", seed=ord(name))
    rows = ["a.jpg,x,train", "b.jpg,x,train", "c.jpg,y,train", "d.jpg,y,extra", "e.jpg,x,extra", "f.jpg,x,extra"]
    data = datasets.load(_table(tmp_path, "path,label,split\n" + "\n".join(rows)), split="train")
    told = [remark for remark in notes.remarks(data) if "left out" in remark]
    reason = "has the split 'extra', which is none of train, val and test"
    assert told == [f"3 left out, for example d.jpg (line 5): {reason}"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_row_that_names_a_pipe_keeps_nobody_waiting(tmp_path):
    write_image(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    data = datasets.load(_table(tmp_path, "path,label\na.jpg,x\npipe,x\n"))
    assert [(left.reason, left.line) for left in data.left_out] == [("is no regular file", 3)]


def test_labels_that_differ_by_space_or_case_are_pointed_out(tmp_path):
    for name in "abc":
        write_image(tmp_path / f"{name}.jpg", seed=ord(name))
    data = datasets.load(_table(tmp_path, "path,label\na.jpg,Red  apple\nb.jpg,red apple\nc.jpg,pear\n"))
    assert "'Red  apple' and 'red apple' are taken for two classes" in notes.remarks(data)


def test_rows_of_val_count_in_the_fingerprint_and_follow_a_subset(tmp_path):
    for name in "abcd":
        write_image(tmp_path / f"{name}.jpg", seed=ord(name))
    plain = _table(tmp_path, "path,label,split\na.jpg,x,train\nb.jpg,x,train\nc.jpg,y,train\nd.jpg,y,train\n")
    whole = datasets.load(plain, split="train")
    held = datasets.load(_table(tmp_path, plain.read_text().replace("d.jpg,y,train", "d.jpg,y,val")), split="train")
    assert whole.held is None and held.fingerprint != whole.fingerprint
    assert held.subset(np.array([3, 0])).held.tolist() == [True, False]

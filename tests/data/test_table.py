"""Tables of images: every cell is text, a given part is kept, a fault is told by its row."""

import polars as pl
import pytest
from PIL import Image

from lookaway.data.duplicates import duplicates, warnings
from lookaway.data.folder import Record
from lookaway.data.samples import open_source
from lookaway.data.table import TableSource
from lookaway.errors import DataError, StudyError
from lookaway.places import to_path
from lookaway.progress import Silent
from lookaway.study.images import find_images
from lookaway.study.plan import parse_study, with_data


@pytest.fixture
def pictures(tmp_path):
    """Twelve images of two classes below a folder, and two that lie elsewhere."""
    for index in range(12):
        path = tmp_path / "faces" / f"im {index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(path)
    (tmp_path / "other").mkdir()
    Image.new("RGB", (8, 8), (0, 9, 0)).save(tmp_path / "other" / "far.png")
    return tmp_path


def written(folder, text, name="t.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def rows(*more, start=0, stop=12):
    """Lines of the pictures: labels 01 and 1 in turn."""
    labels = ("01", "1")
    lines = [f"faces/im {n}.png,{labels[n % 2]}" for n in range(start, stop)]
    return "\n".join(["image,label", *lines, *more, ""])


def study(table, **data):
    models = [{"timm": "test_resnet", "pretrained": False, "train": "none"}]
    return parse_study({"data": {"table": str(table), "image_size": 16, **data}, "models": models})


def test_names_labels_and_content_are_read_as_they_stand(pictures):
    far = pictures / "other" / "far.png"
    table = written(pictures, "\ufeffLabel, IMAGE ,note\n01,faces/im 1.png,3\n\n" + f'1,"{far}",\n')
    scan = open_source(table).scan()
    first, second = scan.records
    assert (first.image, first.label, first.part) == ("faces/im 1.png", "01", None)
    assert (second.image, second.label) == (str(far).lstrip("/"), "1")
    source = TableSource(to_path(table))
    assert source.open(second).getpixel((0, 0)) == (0, 9, 0)
    assert {r.image for r in source.listed()} == {first.image, second.image}
    far.write_bytes((pictures / "faces" / "im 2.png").read_bytes())
    with pytest.raises(DataError, match="changed while the study ran"):
        source.open(second)


def test_a_parquet_table_and_objects_of_a_store_are_the_same(pictures, bucket):
    for index in range(3):
        raw = (pictures / "faces" / f"im {index}.png").read_bytes()
        (bucket / f"faces/im {index}.png").write_bytes(raw)
    frame = pl.DataFrame(
        {"image": [f"{bucket}/faces/im 0.png", "faces/im 1.png"], "label": [7, 10], "odd": [0.5, 1]}
    )
    frame.write_parquet(pictures / "t.parquet")
    (bucket / "t.parquet").write_bytes((pictures / "t.parquet").read_bytes())
    here, there = (
        open_source(p).scan().records for p in (pictures / "t.parquet", f"{bucket}/t.parquet")
    )
    assert here == there
    assert {r.label for r in here} == {"7", "10"}
    assert {r.image for r in here} == {f"s3/{bucket.key}/faces/im 0.png", "faces/im 1.png"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no column 'image'"),
        ("image,class\n", "no column 'label', but 'image, class'.*part \\(train, val, test\\)"),
        ("image,label,Label\n", "more than one column 'label'"),
        ("image,label\n", "has no rows"),
        ("image,label\n\na.png\n", "line 3: 1 cells for 2 columns"),
        ("image,label\na.png,\n", "line 2: no label"),
        ("image,label\n,x\n", "line 2: no image"),
        ("image,label\na.png, x\n", "line 2: the label ' x' has blanks"),
        ("image,label\na.png,x\na.png,y\n", "line 3: the image of line 2 again, 'a.png'"),
        ("image,label\n../a.png,x\n", "line 2: .*leads out of the table's folder"),
        ("image,label\nftp://b/a.png,x\n", "line 2: .*ftp.*possible"),
        ('image,label\n"a.png,x\n', "line 2: unexpected end"),
        ("image,label,part\na.png,x,train\nb.png,x,\n", "line 3: no part; give it for every row"),
        ("image,label,part\na.png,x,holdout\n", "line 2: the part is 'holdout'; possible: train"),
        ("image,label,set\na.png,x,train\nb.png,x,test\n", "column 'set' holds test, train.*part"),
        ("image,label\n" + "a.png,\n" * 7, r"line 2: .*line 6: no label; and 2 more"),
        ("image,label\nnone.png,x\nnor.png,x\n", "line 2: '.*none.png' does not exist; line 3"),
    ],
)
def test_a_fault_is_told_by_its_row(pictures, text, told):
    with pytest.raises(DataError, match=f"(?s){told}"):
        open_source(written(pictures, text)).scan()


def test_other_types_in_a_parquet_table_are_told(pictures):
    pl.DataFrame({"image": ["a.png"], "label": [1.0]}).write_parquet(pictures / "t.parquet")
    with pytest.raises(DataError, match="'label' holds Float64; possible are text and whole"):
        open_source(pictures / "t.parquet")
    pl.DataFrame({"image": ["a", None], "label": [1, 2]}).write_parquet(pictures / "t.parquet")
    with pytest.raises(DataError, match="row 2: no image"):
        open_source(pictures / "t.parquet")


def test_a_given_part_is_kept_unless_the_study_says_how_to_divide(pictures):
    parts = ["train", "train", "valid", "valid", "test", "test"]
    lines = [f"faces/im {n}.png,{n % 2},{parts[n % 6]}" for n in range(12)]
    table = written(pictures, "\n".join(["image,label,part", *lines]))
    kept = study(table)
    images = find_images(kept, None, Silent())
    for part in ("train", "val", "test"):
        names = {record.image for record in images.parts[part]}
        wanted = {"train": "train", "val": "valid", "test": "test"}[part]
        assert names == {f"faces/im {n}.png" for n in range(12) if parts[n % 6] == wanted}
    assert kept.data.split.by == "table"
    seeded = study(table, split={"seed": 3}).data.split
    assert (seeded.by, seeded.seed) == ("table", 3)
    anew = study(table, split={"train": 0.7, "val": 0.15, "test": 0.15})
    assert len(find_images(anew, None, Silent()).parts["train"]) == 8
    bare = study(written(pictures, rows()))
    assert bare.data.split.model_dump() == {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0}
    with pytest.raises(DataError, match="the table has no column part"):
        find_images(study(pictures / "t.csv", split="table"), None, Silent())


def test_a_study_has_a_folder_or_a_table(pictures):
    table, folder = str(written(pictures, rows())), str(pictures)
    for data, told in (
        ({"table": table, "folder": folder}, "data.folder: cannot stand beside table"),
        ({}, "data.folder: is required"),
        ({"folder": table}, r"data.folder: .*of a table say so: data: \{table: …\}"),
        ({"table": folder}, "data.table: .*give a CSV or Parquet file"),
        ({"table": f"{folder}/none.csv"}, "data.table: .*none.csv' cannot be read: No such file"),
        ({"table": table, "split": "folders"}, "split: folders is for images that come from"),
    ):
        with pytest.raises(StudyError, match=told):
            parse_study({"data": data, "models": ["test_resnet"]})
    given = with_data({"data": {"folder": "faces", "image_size": 16}}, table)
    assert given["data"] == {"table": table, "image_size": 16}


def test_leaks_of_content_and_of_subjects_between_parts_are_told():
    def record(name, label, sha, subject):
        return Record(name, label, sha, None, subject)

    parts = {
        "train": [record("a", "ill", "1", "P1"), record("b", "well", "2", "P2")],
        "test": [record("c", "ill", "1", "P3"), record("d", "well", "4", "P2")],
    }
    found = duplicates(parts)
    assert found["across_parts"].images == [{"train": "a", "test": "c"}]
    assert found["subjects_across_parts"].images == [{"train": "b", "test": "d"}]
    assert "the same subject is in more than one" in "".join(warnings(found))
    faces = {part: [record(part, who, part + who, who) for who in "AB"] for part in parts}
    assert "subjects_across_parts" not in duplicates(faces)  # a subject is a class


def test_boxes_of_a_table_are_those_of_the_variant_landmarks(pictures):
    lines = [f"/{pictures}/faces/im {n}.png,{n % 2},1,2,4,4".replace("//", "/") for n in range(12)]
    table = written(pictures, "\n".join(["image,label,x,y,w,h", *lines]))
    found = find_images(study(table, variants=["landmarks"]), None, Silent())
    assert not found.variants["landmarks"].without_face
    pl.read_csv(table).write_parquet(pictures / "t.parquet")
    again = find_images(study(pictures / "t.parquet", variants=["landmarks"]), None, Silent())
    assert again.variants["landmarks"].poses == found.variants["landmarks"].poses

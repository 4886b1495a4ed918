from __future__ import annotations

import numpy as np
import pytest

from upres.evaluation import protocol, testsets
from upres.images import io


def pictures(shared, dataset):
    folder = shared / "data" / "test" / dataset
    return {file.stem: protocol.read_picture(file) for file in protocol.picture_files(folder)}


@pytest.mark.parametrize("dataset", ["set5", "set14", "bsd100"])
def test_the_sets_that_papers_used_are_known(shared, dataset):
    assert testsets.differences(dataset, pictures(shared, dataset)) == []


def test_another_copy_is_noticed(shared):
    own = pictures(shared, "set5")
    renamed = {f"picture-{name}": pixels for name, pixels in own.items()}
    assert testsets.differences("set5", renamed) == []
    del own["img_005"]
    own["img_001"] = own["img_001"][:200, :300]
    own["img_002"] = own["img_002"] ^ np.uint8(1)
    missing, resized, changed = testsets.differences("set5", own)
    assert missing == "set5 has 5 pictures; here are 4."
    assert resized.startswith("img_001: no picture of set5 has this size")
    assert changed.startswith("img_002: the size is one of set5's, the pixels are not those")


def test_pictures_of_one_name_in_two_formats_are_counted(tmp_path):
    (tmp_path / "set5").mkdir()
    picture = io.Picture(np.zeros((48, 48, 3), np.uint8))
    for number in range(1, 6):
        io.write(picture, tmp_path / "set5" / f"img_00{number}.png")
    assert not any("set5 has 5 pictures" in said for said in testsets.check(tmp_path / "set5"))
    io.write(picture, tmp_path / "set5" / "img_001.tif")
    assert testsets.check(tmp_path / "set5")[0] == "set5 has 5 pictures; here are 6."


def test_names_of_folders():
    names = ["Set5", "set-14", "B100", "BSD_100", "Urban100", "Holiday"]
    assert [testsets.canonical(name) for name in names] == ["set5", "set14", "bsd100", "bsd100", "urban100", "holiday"]


def test_urban100_is_known_by_its_count_alone():
    assert testsets.differences("urban100", {"a": np.zeros((4, 4), np.uint8)}) == [
        "urban100 has 100 pictures; here are 1."
    ]
    assert testsets.differences("holiday", {}) == []


def test_bicubic_tells_a_wrong_set():
    assert testsets.bicubic_is_off("set5", 2, 33.661) is None
    assert testsets.bicubic_is_off("set14", 3, 27.541) is None
    assert testsets.bicubic_is_off("holiday", 2, 10) is None
    said = testsets.bicubic_is_off("urban100", 2, 25.5)
    assert said == (
        "bicubic ×2 on urban100 gives 25.50 dB here and 26.88 in papers: these scores do not compare with theirs."
    )

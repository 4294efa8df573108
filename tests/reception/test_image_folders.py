"""What the ledger knows an instance by others of is kept beside, whatever lies under its names meanwhile."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammography.ledger.engine import Ledger
from node.arrival import Arrival
from node.image_folders import ImageFolders
from node.reception import Reception
from node.retention import image_uid
from tests.reception.keeping import arrived
from tests.reception.mammograms import mammogram, uid

STUDY = "beside"


@pytest.fixture(params=[8, 512], ids=["small", "large"])
def arrival(ledger: Ledger, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Arrival]:
    reception = Reception(ledger=ledger, data_dir=tmp_path, minimum_free_bytes=0)
    arrival = arrived(reception, mammogram(STUDY, side=request.param))
    arrival.seal()
    yield arrival
    arrival.discard()
    reception.close()


@pytest.fixture
def folders(tmp_path: Path) -> ImageFolders:
    return ImageFolders(tmp_path, sync=True)


def beside(plain: Path, arrival: Arrival) -> Path:
    return plain.with_name(f"{plain.stem}.conflict-{arrival.digest[:8]}.dcm")


def test_a_name_that_was_taken_is_given_back(folders: ImageFolders, arrival: Arrival):
    plain = folders.name(arrival, uid(STUDY))
    folders.set_beside(arrival, plain)
    assert not plain.exists()
    assert beside(plain, arrival).samefile(arrival.path)
    folders.set_beside(arrival, plain)
    assert [path.name for path in plain.parent.iterdir()] == [beside(plain, arrival).name], "once is enough"


def test_what_somebody_else_put_there_meanwhile_stays(folders: ImageFolders, arrival: Arrival):
    plain = folders.name(arrival, uid(STUDY))
    plain.unlink()
    plain.write_bytes(b"the image that the ledger knows, put back")
    folders.set_beside(arrival, plain)
    assert plain.read_bytes() == b"the image that the ledger knows, put back"
    assert beside(plain, arrival).samefile(arrival.path)


def test_other_bytes_whose_digest_begins_alike_stay_too(folders: ImageFolders, arrival: Arrival):
    plain = folders.name(arrival, uid(STUDY))
    other = beside(plain, arrival)
    other.write_bytes(b"other bytes that are kept beside")
    folders.set_beside(arrival, plain)
    assert other.read_bytes() == b"other bytes that are kept beside"
    (mine,) = set(plain.parent.iterdir()) - {other}
    assert mine.samefile(arrival.path)
    assert image_uid(mine) == plain.stem, "retention finds it by its UID"


def test_who_comes_late_gets_a_name_beside_all_that_is_there(folders: ImageFolders, arrival: Arrival):
    plain = folders.name(arrival, uid(STUDY))
    arrival.in_file()
    taken = [plain, beside(plain, arrival)]
    for path in taken:
        path.unlink(missing_ok=True)
        path.write_bytes(b"other bytes")
    mine = folders.name(arrival, uid(STUDY))
    assert mine not in taken
    assert mine.samefile(arrival.path)


def test_a_folder_that_somebody_removed_is_made_again(folders: ImageFolders, arrival: Arrival):
    plain = folders.name(arrival, uid(STUDY))
    arrival.in_file()
    shutil.rmtree(plain.parent)
    folders.set_beside(arrival, plain)
    assert beside(plain, arrival).samefile(arrival.path)

"""The senders that hospitals and researchers already have: dcmtk's and pynetdicom's own programs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HEVCM10P51,
    HEVCMP51,
    JPEG2000,
    MPEG2MPHL,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41BD,
    MPEG4HP42STEREO,
    MPEG4HP422D,
    MPEG4HP423D,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import SCREENING_SET, data_set_of, mammogram, saved, uid

ENCAPSULATED = {
    "-xs": JPEGLosslessSV1,
    "-xy": JPEGBaseline8Bit,
    "-xx": JPEGExtended12Bit,
    "-xv": JPEG2000Lossless,
    "-xw": JPEG2000,
    "-xt": JPEGLSLossless,
    "-xu": JPEGLSNearLossless,
    "-xm": MPEG2MPML,
    "-xh": MPEG2MPHL,
    "-xn": MPEG4HP41,
    "-xl": MPEG4HP41BD,
    "-x2": MPEG4HP422D,
    "-x3": MPEG4HP423D,
    "-xo": MPEG4HP42STEREO,
    "-x4": HEVCMP51,
    "-x5": HEVCM10P51,
    "-xr": RLELossless,
}
"""Every encapsulated transfer syntax that storescu proposes, by its option; the native ones are in test_storing."""


@pytest.mark.parametrize("option", ENCAPSULATED)
def test_storescu_sends_every_syntax_of_its_list(node: ListeningNode, tmp_path: Path, option: str):
    """What is inside does not matter to a store: the bytes are those of no codec."""
    image = mammogram("listed")
    image.PixelData = encapsulate([bytes(range(256)) * 8])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    sent = saved(image, tmp_path / "sent.dcm", ENCAPSULATED[option])
    to = ["-aet", "MODALITY1", "-aec", "MAMMOCALC", "127.0.0.1", str(node.port)]
    subprocess.run(["/usr/bin/storescu", "-R", option, *to, sent], check=True, timeout=60)
    (row,) = node.instances("listed")
    assert UID(row.transfer_syntax_uid) == ENCAPSULATED[option]
    assert data_set_of((node.data_dir / row.path).read_bytes()) == data_set_of(sent.read_bytes())


def folder_of(study: str, folder: Path) -> Path:
    folder.mkdir()
    for number in range(12):
        view = SCREENING_SET[number % 4]
        saved(
            mammogram(study, view, side=300, SOPInstanceUID=uid(study, str(number))),
            folder / f"{number:02}.dcm",
        )
    return folder


def test_dcmsend_sends_a_folder(node: ListeningNode, tmp_path: Path):
    folder = folder_of("dcmsend", tmp_path / "sent")
    to = ["-aec", "MAMMOCALC", "127.0.0.1", str(node.port)]
    subprocess.run(["/usr/bin/dcmsend", "+sd", "+r", *to, folder], check=True, timeout=60)
    assert len(node.instances("dcmsend")) == 12


def test_the_program_of_pynetdicom_stores_and_verifies(node: ListeningNode, tmp_path: Path):
    folder = folder_of("pynetdicom", tmp_path / "sent")
    to = ["127.0.0.1", str(node.port), "-aec", "MAMMOCALC"]
    for words in (["echoscu", *to], ["storescu", *to[:2], str(folder), *to[2:]]):
        subprocess.run([sys.executable, "-m", "pynetdicom", *words], check=True, timeout=60)
    assert len(node.instances("pynetdicom")) == 12


def test_a_hospital_loads_its_archive_in_parallel(node: ListeningNode, tmp_path: Path):
    """As many senders at once as an archive that migrates: each a study, some by storescu, some by dcmsend."""
    folders = {f"load-{number}": folder_of(f"load-{number}", tmp_path / str(number)) for number in range(12)}
    to = ["-aec", "MAMMOCALC", "127.0.0.1", str(node.port)]

    def load(number: int, folder: Path) -> int:
        program = ["/usr/bin/storescu", "+sd"] if number % 2 else ["/usr/bin/dcmsend", "+sd"]
        return subprocess.run([*program, *to, folder], check=False, timeout=120).returncode

    with ThreadPoolExecutor(12) as together:
        codes = list(together.map(load, range(12), folders.values()))
    assert codes == [0] * 12
    for study, folder in folders.items():
        rows = {row.sop_instance_uid: row for row in node.instances(study)}
        assert len(rows) == 12
        for file in folder.iterdir():
            row = rows[pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID]
            assert data_set_of((node.data_dir / row.path).read_bytes()) == data_set_of(file.read_bytes())

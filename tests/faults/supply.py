"""As many four-view studies as a fault run wants: one synthetic study, drawn once, under ever new UIDs."""

import copy
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from lab.phantom.commands import write_study
from mammography.uid import UidRole, mint

ROWS, COLUMNS = 1300, 1300
"""Of each image: enough of the breast for the reader to read it, and a fifth of the whole to send and to keep."""


class Supply:
    """Studies by number; the same number is the same study."""

    def __init__(self, folder: Path) -> None:
        write_study(folder, seed=79, easy=True)
        self._images = [_cut(dcmread(path)) for path in sorted(folder.glob("*.dcm"))]

    def study(self, number: int) -> list[Dataset]:
        """Return the four images of a study."""
        study_uid, series_uid = (
            mint(UidRole.PHANTOM, "faults", str(number), what) for what in ("study", "series")
        )
        images = []
        for place, original in enumerate(self._images):
            image = copy.deepcopy(original)
            image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
            image.SOPInstanceUID = mint(UidRole.PHANTOM, "faults", str(number), "image", str(place))
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.AccessionNumber, image.PatientID = f"F{number}", f"FAULTS-{number}"
            images.append(image)
        return images


def _cut(image: Dataset) -> Dataset:
    """Return the middle of an image, from the chest wall on."""
    pixels = image.pixel_array
    top = (pixels.shape[0] - ROWS) // 2
    from_left = pixels[:, :50].mean() > pixels[:, -50:].mean()
    columns = slice(0, COLUMNS) if from_left else slice(pixels.shape[1] - COLUMNS, None)
    pixels = np.ascontiguousarray(pixels[top : top + ROWS, columns])
    image.Rows, image.Columns = pixels.shape
    image.PixelData = pixels.tobytes()
    return image

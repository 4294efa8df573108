"""A scene as the object that a modality would send: Digital Mammography X-Ray Image (PS3.3 A.26)."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from lab.phantom.truth import Scene
from mammography.uid import UidRole, mint
from mammography.view import VIEW_CODES, Laterality, ViewPosition

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "rle": RLELossless,
}
"""Transfer syntaxes that a study can be written in; the compressed ones are lossless."""

_ORIENTATION = {
    (Laterality.RIGHT, ViewPosition.CC): ["P", "L"],
    (Laterality.LEFT, ViewPosition.CC): ["A", "R"],
    (Laterality.RIGHT, ViewPosition.MLO): ["P", "FL"],
    (Laterality.LEFT, ViewPosition.MLO): ["A", "FR"],
}
"""Patient Orientation (0020,0020) of an image with the chest wall at the right edge for the right breast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a vendor writes its headers. `voi`: VOI LUT Function; `windows`: as factors of the scene's window."""

    manufacturer: str
    model: str
    voi: str
    windows: tuple[float, ...]
    monochrome1: bool = False
    calibrated: bool = False


HABITS: dict[str, Habit] = {
    "alpha": Habit(manufacturer="Alpha Phantom", model="A-1", voi="LINEAR", windows=(1.0, 0.8, 1.25)),
    "beta": Habit(manufacturer="Beta Phantom", model="B 3000", voi="SIGMOID", windows=(1.0,)),
    "gamma": Habit(manufacturer="Gamma Phantom", model="G", voi="LINEAR", windows=(1.0,), monochrome1=True),
    "delta": Habit(manufacturer="Delta Phantom", model="D/2", voi="LINEAR", windows=(1.0,), calibrated=True),
    "film": Habit(
        manufacturer="Film Phantom", model="Scanner", voi="LINEAR", windows=(1.0,), calibrated=True
    ),
    "zeta": Habit(manufacturer="Zeta Phantom", model="Z", voi="LINEAR", windows=(1.0,)),
    "eta": Habit(manufacturer="Eta Phantom", model="H-5", voi="SIGMOID", windows=(1.0, 0.8)),
}
"""Header habits of the invented vendors of `lab.phantom.presentation`."""


def study_uid(seed: int) -> str:
    """Return the Study Instance UID of the study of a seed."""
    return mint(UidRole.PHANTOM, str(seed), "study")


def to_dicom(scene: Scene, *, seed: int, syntax: str = "explicit", for_processing: bool = False) -> Dataset:
    """Return a scene as a complete data set with file meta information, ready to be saved.

    `seed` is the study's: it makes the identifiers, the invented patient and the dates, so that the same study
    is always written with the same bytes. `syntax`: a key of SYNTAXES.
    """
    data_set = Dataset()
    _identify(data_set, scene, seed, for_processing)
    _acquire(data_set, scene, seed)
    _picture(data_set, scene, for_processing)
    data_set.file_meta = _file_meta(data_set)
    if syntax != "explicit":
        data_set.compress(SYNTAXES[syntax], encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
    return data_set


_ENCODERS = {"jpeg2000": "pylibjpeg", "jpegls": "pyjpegls", "rle": "pydicom"}


def _identify(data_set: Dataset, scene: Scene, seed: int, for_processing: bool) -> None:
    """Write patient, study, series and instance."""
    intent = "FOR PROCESSING" if for_processing else "FOR PRESENTATION"
    day = f"2026{1 + seed % 12:02d}{1 + seed // 12 % 28:02d}"
    time = f"{8 + seed % 10:02d}{seed // 10 % 60:02d}00"
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.SOPClassUID = (
        DigitalMammographyXRayImageStorageForProcessing
        if for_processing
        else DigitalMammographyXRayImageStorageForPresentation
    )
    words = (str(seed), str(scene.view), intent)
    data_set.SOPInstanceUID = mint(UidRole.PHANTOM, *words, "instance")
    data_set.SeriesInstanceUID = mint(UidRole.PHANTOM, *words, "series")
    data_set.StudyInstanceUID = study_uid(seed)
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(data_set, f"{event}Date", day)
        setattr(data_set, f"{event}Time", time)
    data_set.AccessionNumber, data_set.StudyID = f"PHANTOM{seed}", str(seed)
    data_set.Modality, data_set.PresentationIntentType = "MG", intent
    data_set.StudyDescription = "Synthetic screening mammography"
    data_set.SeriesDescription = str(scene.view)
    data_set.ReferringPhysicianName = ""
    data_set.PatientName, data_set.PatientID = f"PHANTOM^{seed}", f"PHANTOM-{seed}"
    data_set.PatientBirthDate, data_set.PatientSex, data_set.PatientAge = "19660101", "F", "060Y"
    data_set.PatientComments = "Synthetic image: no patient."
    data_set.SeriesNumber = 1 + list(_ORIENTATION).index((scene.view.laterality, scene.view.position))
    data_set.InstanceNumber = 1


def _acquire(data_set: Dataset, scene: Scene, seed: int) -> None:
    """Write equipment, positioning and exposure."""
    habit = HABITS[scene.vendor]
    side, position = scene.view.laterality, scene.view.position
    data_set.Manufacturer, data_set.ManufacturerModelName = habit.manufacturer, habit.model
    data_set.DeviceSerialNumber, data_set.SoftwareVersions = str(1000 + seed % 7), "phantom"
    data_set.BodyPartExamined = data_set.OrganExposed = "BREAST"
    data_set.ImageLaterality, data_set.ViewPosition = side.value, position.value
    data_set.PatientOrientation = _ORIENTATION[side, position]
    data_set.PositionerType, data_set.DetectorType = "MAMMOGRAPHIC", "DIRECT"
    data_set.PositionerPrimaryAngle = 0 if position is ViewPosition.CC else 45
    data_set.KVP, data_set.AnodeTargetMaterial, data_set.FilterMaterial = "29", "TUNGSTEN", "RHODIUM"
    data_set.BodyPartThickness = f"{scene.thickness_mm:.0f}"
    pitch = f"{scene.spacing_mm:g}"
    data_set.ImagerPixelSpacing = [pitch, pitch]
    data_set.EstimatedRadiographicMagnificationFactor = "1"
    if habit.calibrated:
        data_set.PixelSpacing = [pitch, pitch]
        data_set.PixelSpacingCalibrationType = "GEOMETRY"
        data_set.PixelSpacingCalibrationDescription = "At the detector plane"
    data_set.BreastImplantPresent, data_set.BurnedInAnnotation = "NO", "NO"
    code, _, meaning = VIEW_CODES[position]
    view = _code(code, "SCT", meaning)
    view.ViewModifierCodeSequence = []
    data_set.ViewCodeSequence = [view]
    data_set.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    data_set.AcquisitionContextSequence = []


def _picture(data_set: Dataset, scene: Scene, for_processing: bool) -> None:
    """Write the pixels and how they are shown."""
    habit = HABITS[scene.vendor]
    pixels = scene.raw if for_processing else scene.pixels
    bits = 14 if for_processing else 12
    turned = habit.monochrome1 and not for_processing
    if turned:
        pixels = (2**bits - 1) - pixels
    data_set.ImageType = ["ORIGINAL" if for_processing else "DERIVED", "PRIMARY", ""]
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME1" if turned else "MONOCHROME2"
    data_set.PresentationLUTShape = "INVERSE" if turned else "IDENTITY"
    data_set.Rows, data_set.Columns = pixels.shape
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, bits, bits - 1
    data_set.PixelRepresentation, data_set.LossyImageCompression = 0, "00"
    data_set.PixelIntensityRelationship = "LIN" if for_processing else "LOG"
    # -1: high values mean little X-ray intensity (PS3.3 C.8.11.3.1)
    data_set.PixelIntensityRelationshipSign = 1 if for_processing or turned else -1
    data_set.RescaleIntercept, data_set.RescaleSlope, data_set.RescaleType = "0", "1", "US"
    if not for_processing:
        center = (2**bits - 1) - scene.window_center if turned else scene.window_center
        data_set.WindowCenter = [f"{center:.0f}" for _ in habit.windows]
        data_set.WindowWidth = [f"{scene.window_width * factor:.0f}" for factor in habit.windows]
        data_set.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"][: len(habit.windows)]
        data_set.VOILUTFunction = habit.voi
    data_set.add_new("PixelData", "OW", np.ascontiguousarray(pixels).astype("<u2").tobytes())


def _file_meta(data_set: Dataset) -> FileMetaDataset:
    """Return file meta information (PS3.10 7.1) for an uncompressed data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(mint(UidRole.PHANTOM, "implementation"))
    meta.ImplementationVersionName = "MAMMOCALCPHANTOM"
    return meta


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code

"""A scene as the object that a modality would send: Digital Mammography X-Ray Image (PS3.3 A.26)."""

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lab.phantom.habits import HABITS, MODIFIER_CODES, Habit
from lab.phantom.truth import Scene
from lab.phantom.views import drawn_as, magnification_of
from mammography.uid import UidRole, mint
from mammography.view import VIEW_CODES, Laterality, ViewPosition

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "jpeg": JPEGLosslessSV1,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "rle": RLELossless,
}
"""Transfer syntaxes that a study can be written in; the compressed ones are lossless."""

_FEET = {ViewPosition.CC: ("L", "R"), ViewPosition.MLO: ("FL", "FR")}
"""Where an image's columns lead, of a right and of a left breast, when the chest wall is where it belongs."""
_ANGLES = {ViewPosition.MLO: 45, ViewPosition.ML: 90, ViewPosition.LM: -90, ViewPosition.LMO: -135}
_SOURCE_TO_DETECTOR_MM = 660


def study_uid(seed: int) -> str:
    """Return the Study Instance UID of the study of a seed."""
    return mint(UidRole.PHANTOM, str(seed), "study")


def to_dicom(scene: Scene, *, seed: int, syntax: str | None = None, for_processing: bool = False) -> Dataset:
    """Return a scene as a complete data set with file meta information, ready to be saved.

    `seed` is the study's: it makes the identifiers, the invented patient and the dates, so that the same study
    is always written with the same bytes. `syntax`: a key of SYNTAXES, None for the vendor's habit.
    """
    habit = HABITS[scene.vendor]
    chosen = syntax or ("implicit" if habit.implicit else "explicit")
    data_set = Dataset()
    _identify(data_set, scene, seed, for_processing)
    _acquire(data_set, scene, habit, seed)
    _picture(data_set, scene, habit, for_processing)
    if habit.private:
        block = data_set.private_block(0x0019, "MAMMOCALC PHANTOM", create=True)
        block.add_new(0x01, "LO", "private to this vendor")
        block.add_new(0x02, "OB", bytes(range(64)))
    data_set.file_meta = _file_meta(data_set)
    if chosen == "jpeg":
        return _as_jpeg(data_set)
    if chosen in _ENCODERS:
        data_set.compress(SYNTAXES[chosen], encoding_plugin=_ENCODERS[chosen], generate_instance_uid=False)
    else:
        data_set.file_meta.TransferSyntaxUID = SYNTAXES[chosen]
    return data_set


_ENCODERS = {"jpeg2000": "pylibjpeg", "jpegls": "pyjpegls", "rle": "pydicom"}


def _as_jpeg(data_set: Dataset) -> Dataset:
    """Return the data set with its pixels as JPEG Lossless, which GDCM alone can write here."""
    gdcm: Any = import_module("gdcm")  # its names are made when it is imported
    with TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        data_set.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        pixels = dcmread(packed).PixelData
    data_set.PixelData = pixels
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    data_set.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    return data_set


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
    left = scene.view.laterality is Laterality.LEFT
    data_set.SeriesNumber = 1 + 2 * list(ViewPosition).index(scene.view.position) + left
    data_set.InstanceNumber = 1
    data_set.IrradiationEventUID = mint(UidRole.PHANTOM, str(seed), str(scene.view), "exposure")


def _acquire(data_set: Dataset, scene: Scene, habit: Habit, seed: int) -> None:
    """Write equipment, positioning and exposure."""
    side, position = scene.view.laterality, scene.view.position
    right = side is Laterality.RIGHT
    data_set.Manufacturer, data_set.ManufacturerModelName = habit.manufacturer, habit.model
    data_set.DeviceSerialNumber, data_set.SoftwareVersions = str(1000 + seed % 7), "phantom"
    data_set.BodyPartExamined = data_set.OrganExposed = "BREAST"
    data_set.ImageLaterality, data_set.ViewPosition = side.value, position.value
    data_set.PatientOrientation = ["P" if right else "A", _FEET[drawn_as(scene.view)][not right]]
    if position in (ViewPosition.ML, ViewPosition.LM):
        data_set.PatientOrientation = ["P" if right else "A", "F"]
    data_set.PositionerType, data_set.DetectorType = "MAMMOGRAPHIC", habit.detector
    data_set.PositionerPrimaryAngle = _ANGLES.get(position, 0)
    data_set.KVP, data_set.AnodeTargetMaterial, data_set.FilterMaterial = "29", "TUNGSTEN", "RHODIUM"
    data_set.BodyPartThickness = f"{scene.thickness_mm:.0f}"
    _scale(data_set, scene, habit)
    data_set.BreastImplantPresent = "YES" if scene.implant else "NO"
    data_set.BurnedInAnnotation = "NO"
    scheme = "SRT" if habit.older_codes else "SCT"
    view = _code(VIEW_CODES[position], scheme)
    view.ViewModifierCodeSequence = [
        _code(MODIFIER_CODES[modifier], scheme) for modifier in sorted(scene.view.modifiers)
    ]
    data_set.ViewCodeSequence = [view]
    data_set.AnatomicRegionSequence = [_code(("76752008", "T-04000", "Breast"), scheme)]
    data_set.AcquisitionContextSequence = []


def _scale(data_set: Dataset, scene: Scene, habit: Habit) -> None:
    """Write the detector's pitch, and what it is in the breast where the view is magnified or the vendor says so."""
    factor = magnification_of(scene.view)
    pitch = f"{scene.spacing_mm * factor:.6g}"
    data_set.ImagerPixelSpacing = [pitch, pitch]
    if factor > 1 or habit.magnification:
        data_set.EstimatedRadiographicMagnificationFactor = f"{factor:g}"
    if factor > 1:
        data_set.DistanceSourceToDetector = f"{_SOURCE_TO_DETECTOR_MM}"
        data_set.DistanceSourceToPatient = f"{_SOURCE_TO_DETECTOR_MM / factor:.0f}"
    if habit.calibrated:
        inner = f"{scene.spacing_mm:.6g}"
        data_set.PixelSpacing = [inner, inner]
        data_set.PixelSpacingCalibrationType = "GEOMETRY"
        data_set.PixelSpacingCalibrationDescription = "In the middle of the breast"


def _picture(data_set: Dataset, scene: Scene, habit: Habit, for_processing: bool) -> None:
    """Write the pixels and how they are shown."""
    bits = 14 if for_processing else habit.bits
    pixels = scene.raw if for_processing else scene.pixels * np.uint16(2 ** (bits - 12))
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
        _show(data_set, scene, habit, turned)
        if habit.padding:
            _pad(data_set, scene, pixels, turned)
    data_set.add_new("PixelData", "OW", np.ascontiguousarray(pixels).astype("<u2").tobytes())


def _show(data_set: Dataset, scene: Scene, habit: Habit, turned: bool) -> None:
    """Write windows, and a table with the curve of a film where the vendor has one (PS3.3 C.11.2)."""
    white, factor = 2**habit.bits - 1, 2 ** (habit.bits - 12)
    center = scene.window_center * factor
    center = white - center if turned else center
    width = scene.window_width * factor
    if habit.windows:
        data_set.WindowCenter = [f"{center:.0f}" for _ in habit.windows]
        data_set.WindowWidth = [f"{width * share:.0f}" for share in habit.windows]
        data_set.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"][: len(habit.windows)]
        data_set.VOILUTFunction = habit.voi
    if habit.table:
        values = np.arange(2**habit.bits)
        curve = 4095 / (1 + np.exp(-4 * (values - center) / width))
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [len(values) % 2**16, 0, 12])
        table.LUTExplanation = "NORMAL"
        table.add_new("LUTData", "OW", np.rint(curve).astype("<u2").tobytes())
        data_set.VOILUTSequence = [table]


def _pad(data_set: Dataset, scene: Scene, pixels: NDArray[np.uint16], turned: bool) -> None:
    """State the values of air as padding, up to a limit that only the very skin reaches (PS3.3 C.7.5.1.1.2)."""
    breast = np.kron(scene.breast, np.ones((4, 4), dtype=np.bool_))[: pixels.shape[0], : pixels.shape[1]]
    inner, air = pixels[breast], pixels[~breast]
    edge = 2**data_set.BitsStored - 1 if turned else 0
    data_set.add_new("PixelPaddingValue", "US", edge)
    if air.size == 0 or inner.size == 0:
        return
    limit = int(np.median(air))
    clear = limit > np.quantile(inner, 0.97) if turned else limit < np.quantile(inner, 0.03)
    if clear and limit != edge:
        data_set.add_new("PixelPaddingRangeLimit", "US", limit)


def _file_meta(data_set: Dataset) -> FileMetaDataset:
    """Return file meta information (PS3.10 7.1) for an uncompressed data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(mint(UidRole.PHANTOM, "implementation"))
    meta.ImplementationVersionName = "MAMMOCALCPHANTOM"
    return meta


def _code(codes: tuple[str, str, str], scheme: str) -> Dataset:
    """Return a code of a scheme: SCT, or SRT as older systems write it."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = codes[scheme == "SRT"], scheme
    code.CodeMeaning = codes[2]
    return code

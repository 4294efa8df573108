"""One mammogram, opened for reading: the only caller of a pixel decoder.

Every refusal is one sentence. Whatever a header declares is compared with the bytes that are there before
anything is decoded, so that a small file cannot ask for much memory.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.encaps
import pydicom.pixels
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from mammography.header import DAMAGE, number_of, stated
from mammography.view import View, ViewModifier, ViewPosition, view_of

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
MAMMOGRAPHY_CLASSES = frozenset({FOR_PRESENTATION, FOR_PROCESSING})
"""Digital Mammography X-Ray Image Storage, For Presentation and For Processing (PS3.4 B.5)."""

SMALLEST_SIDE, LARGEST_SIDE, MOST_PIXELS = 64, 16_384, 80_000_000
FINEST_SPACING_MM, COARSEST_SPACING_MM = 0.02, 0.2
SMALLEST_FIELD_MM, LARGEST_FIELD_MM = 30.0, 500.0
"""The shorter side of what a whole view shows is longer than the first, its longer side shorter than the second."""
LARGEST_MAGNIFICATION = 1.3
"""Estimated Radiographic Magnification Factor of a contact view lies near 1.1, of a magnification view from 1.5."""
MOST_INFLATED_BYTES = 1 << 29
SIGNED_LIMIT = 1 << 15

_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"
_CALIBRATIONS = frozenset({"GEOMETRY", "FIDUCIAL"})
_SPECIMEN_CODES = frozenset({"127457009", "G-8310"})


class UnreadableMammogram(Exception):
    """The image cannot be read; str() is the sentence why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mammogram:
    """One mammographic image with its pixels.

    `spacing_mm` is the pitch at the detector plane, the same along rows and columns. `pixels` is
    [rows, columns] of stored values: neither inverted nor windowed. `inverted` says that low stored values
    are bright (MONOCHROME1). `header` holds everything but the pixel data. `view` is None where none is stated.
    """

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    view: View | None
    rows: int
    columns: int
    spacing_mm: float
    inverted: bool
    pixels: NDArray[np.integer[Any]]
    header: Dataset


def open_header(path: Path) -> Dataset:
    """Return a file's data set without its pixel data; its class, identity and view can be asked for.

    Raises:
        UnreadableMammogram: if the file is missing, no DICOM file, or damaged there.
    """
    header = _dataset(path, stop_before_pixels=True)
    try:  # pydicom parses a value when it is first asked for
        view_of(header)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
            header.get(keyword)
    except DAMAGE as damage:
        raise UnreadableMammogram(_damaged(damage)) from damage
    return header


def open_mammogram(path: Path) -> Mammogram:
    """Return the mammogram in a DICOM file.

    Raises:
        UnreadableMammogram: if it is not a mammogram that we may read, with the sentence why.
    """
    header = open_header(path)
    try:
        _refuse_other_objects(header)
        _refuse_other_mammograms(header)
        spacing_mm = spacing_of(header)
        _refuse_sizes(header, spacing_mm)
        pixels = _pixels(path)
        return Mammogram(
            path=path,
            sop_instance_uid=str(header.SOPInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
            study_instance_uid=str(header.StudyInstanceUID),
            view=view_of(header),
            rows=int(header.Rows),
            columns=int(header.Columns),
            spacing_mm=spacing_mm,
            inverted=header.PhotometricInterpretation == "MONOCHROME1",
            pixels=pixels,
            header=header,
        )
    except DAMAGE as damage:
        raise UnreadableMammogram(_damaged(damage)) from damage


def spacing_of(header: Dataset) -> float:
    """Return the pitch in mm at the detector plane (PS3.3 10.7.1.3, C.8.11.4).

    Imager Pixel Spacing is that pitch. Where it is missing, Pixel Spacing counts: calibrated (by geometry or a
    fiducial) it lies in the plane of the breast, and is magnified back to the detector; uncalibrated it is the
    detector's own. Of a digitised film, Nominal Scanned Pixel Spacing is the pitch of the film, which lay there.

    Raises:
        UnreadableMammogram: if there is none, or one that no mammography detector has.
    """
    keywords = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
    keyword = next((keyword for keyword in keywords if header.get(keyword)), None)
    if keyword is None:
        raise UnreadableMammogram("The image states no pixel spacing, so nothing in it can be measured.")
    calibrated = keyword == "PixelSpacing" and header.get("PixelSpacingCalibrationType") in _CALIBRATIONS
    enlarged = number_of(header, "EstimatedRadiographicMagnificationFactor") if calibrated else None
    down, across = (float(value) * (enlarged or 1.0) for value in header[keyword].value)
    if not (FINEST_SPACING_MM <= down <= COARSEST_SPACING_MM and abs(down - across) <= 0.02 * down):
        raise UnreadableMammogram(
            f"The pixel spacing of {down:g} by {across:g} mm is none of a mammography detector."
        )
    return (down + across) / 2


def padding_of(mammogram: Mammogram) -> NDArray[np.bool_] | None:
    """Return which pixels are padding and not image, [rows, columns], or None where the header names none.

    Pixel Padding Value and Pixel Padding Range Limit, both included, are stored values (PS3.3 C.7.5.1.1.2).
    """
    value = _stored(mammogram, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored(mammogram, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((mammogram.pixels >= low) & (mammogram.pixels <= high), dtype=np.bool_)


def display_values(mammogram: Mammogram) -> NDArray[np.uint8]:
    """Return the image as a viewer shows it first: [rows, columns], 0 black to 255 white; for pictures only.

    The first VOI LUT or window of the header is applied (PS3.3 C.11.2), MONOCHROME1 is turned, and
    padding is black.
    """
    pixels, padding = mammogram.pixels, padding_of(mammogram)
    image = pixels if padding is None or padding.all() else pixels[~padding]
    lowest, highest = int(pixels.min()), int(pixels.max())
    levels = np.arange(lowest, highest + 1)
    shown = _voi(levels, image, mammogram.header)
    if mammogram.inverted:
        shown = 1.0 - shown
    table = np.clip(np.rint(shown * 255.0), 0, 255).astype(np.uint8)
    picture = np.asarray(table[pixels.astype(np.int64) - lowest], dtype=np.uint8)
    if padding is not None:
        picture[padding] = 0
    return picture


def _voi(levels: NDArray[np.int64], image: NDArray[np.integer[Any]], header: Dataset) -> NDArray[np.float64]:
    """Return what each stored level is shown as, 0 to 1, before the sense of MONOCHROME1 (PS3.3 C.11.2.1).

    A header whose table or window cannot be used is shown between two quantiles of its `image` pixels.
    """
    slope, intercept = (number_of(header, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    values = np.asarray(levels * (slope or 1.0) + (intercept or 0.0), dtype=np.float64)
    table = _table_of(header)
    if table is not None:
        first, entries = table
        places = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
        return np.asarray(entries[places], dtype=np.float64)
    center, width = (number_of(header, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        low, high = sorted(
            np.quantile(image.ravel()[::13], (0.005, 0.999)) * (slope or 1.0) + (intercept or 0.0)
        )
        return np.asarray(np.clip((values - low) / max(high - low, 1.0), 0.0, 1.0), dtype=np.float64)
    return _windowed(values, center, width, str(stated(header, "VOILUTFunction") or "LINEAR"))


def _table_of(header: Dataset) -> tuple[int, NDArray[np.float64]] | None:
    """Return the first input value and the entries, 0 to 1, of the first VOI LUT (PS3.3 C.11.2.1.1), or None."""
    try:
        item = header.VOILUTSequence[0]
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
        entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data)
    except DAMAGE:
        return None
    signed = header.get("PixelRepresentation") == 1 and first > SIGNED_LIMIT
    if len(entries) < (count or SIGNED_LIMIT * 2) or not 8 <= bits <= 16:
        return None
    entries = entries[: count or SIGNED_LIMIT * 2].astype(np.float64)
    return first - (SIGNED_LIMIT * 2 if signed else 0), entries / (2**bits - 1)


def _windowed(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Return values through a window of PS3.3 C.11.2.1.2 (LINEAR) or C.11.2.1.3 (the others), 0 to 1."""
    if function == "SIGMOID":
        shown = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / max(width, 1e-6), -60.0, 60.0)))
    elif function == "LINEAR_EXACT":
        shown = (values - center) / max(width, 1e-6) + 0.5
    else:
        shown = (values - (center - 0.5)) / max(width - 1.0, 1e-6) + 0.5
    return np.asarray(np.clip(shown, 0.0, 1.0), dtype=np.float64)


def _stored(mammogram: Mammogram, keyword: str) -> int | None:
    """Return a stored value that the header states, whichever of US and SS it was written as."""
    value = stated(mammogram.header, keyword)
    if not isinstance(value, int):
        return None
    bits = mammogram.pixels.dtype.itemsize * 8
    value &= (1 << bits) - 1
    signed = np.issubdtype(mammogram.pixels.dtype, np.signedinteger)
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _dataset(path: Path, *, stop_before_pixels: bool) -> FileDataset:
    """Read a file's data set; damaged, deep or inflated ones are refused with a sentence."""
    try:
        _refuse_inflated(path)
        return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError as cause:
        raise UnreadableMammogram("The file is not a DICOM file.") from cause
    except OSError as cause:
        reason = cause.strerror or "it ends before the data set does"
        raise UnreadableMammogram(f"The file cannot be read: {reason}.") from cause
    except RecursionError as cause:
        raise UnreadableMammogram("The object is damaged: its sequences are nested too deeply.") from cause
    except DAMAGE as cause:
        raise UnreadableMammogram(_damaged(cause)) from cause


def _damaged(cause: Exception) -> str:
    """Return the sentence for damaged bytes; pydicom's own may quote them, and with them the patient."""
    return f"The object is damaged and cannot be parsed ({type(cause).__name__})."


def _refuse_inflated(path: Path) -> None:
    """Refuse a deflated data set (PS3.5 A.5) that inflates to more than a mammogram can hold."""
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    with path.open("rb") as file:
        file.seek(
            144 + int(meta.FileMetaInformationGroupLength)
        )  # preamble, prefix and group length: PS3.10 7.1
        inflator, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflator.unconsumed_tail or file.read(1 << 16):
            inflated += len(inflator.decompress(chunk, 1 << 22))
            if inflated > MOST_INFLATED_BYTES:
                raise UnreadableMammogram("The data set inflates to more bytes than a mammogram can hold.")


def _refuse_other_objects(header: Dataset) -> None:
    """Refuse what is not one mammographic image."""
    sop_class = str(header.get("SOPClassUID") or "")
    if sop_class not in MAMMOGRAPHY_CLASSES:
        name = UID(sop_class).name if sop_class else "no SOP class"
        kind = "image" if "Image" in name else "object"
        modality = str(header.get("Modality") or "DICOM")
        raise UnreadableMammogram(f"The object is a {modality} {kind}, not a mammogram ({name}).")
    modality = str(header.get("Modality") or "MG")
    if modality != "MG":
        raise UnreadableMammogram(f"The object calls itself {modality}, not mammography (MG).")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "Rows", "Columns", "BitsAllocated"):
        if not header.get(keyword):
            raise UnreadableMammogram(f"The image has no {keyword}.")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise UnreadableMammogram(f"The image has {header.NumberOfFrames} frames; a mammogram has one.")
    photometric = str(header.get("PhotometricInterpretation") or "none")
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnreadableMammogram(
            f"The image has the photometric interpretation {photometric}, not grey values."
        )


def _refuse_other_mammograms(header: Dataset) -> None:
    """Refuse magnified views and specimens: what we read are contact views of a breast."""
    magnification = number_of(header, "EstimatedRadiographicMagnificationFactor") or 1.0
    if magnification > LARGEST_MAGNIFICATION:
        raise UnreadableMammogram(
            f"The image is magnified {magnification:g} times; magnification views are not read."
        )
    view = view_of(header)
    modifiers = view.modifiers if view else frozenset()
    for modifier in (ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION):
        if modifier in modifiers:
            raise UnreadableMammogram(f"The image is a {modifier} view; such views are not read.")
    codes = {str(item.get("CodeValue", "")) for item in header.get("ViewCodeSequence") or []}
    if codes & _SPECIMEN_CODES or header.get("ViewPosition") == ViewPosition.SPECIMEN:
        raise UnreadableMammogram("The image shows a specimen, not a breast.")


def _refuse_sizes(header: Dataset, spacing_mm: float) -> None:
    """Refuse matrices and fields that no mammography detector has, before a byte of them is decoded."""
    rows, columns = int(header.Rows), int(header.Columns)
    if min(rows, columns) < SMALLEST_SIDE:
        raise UnreadableMammogram(f"The image of {columns} by {rows} pixels is too small for a mammogram.")
    if max(rows, columns) > LARGEST_SIDE or rows * columns > MOST_PIXELS:
        raise UnreadableMammogram(
            f"The image declares {columns} by {rows} pixels, more than a mammogram has."
        )
    down, across = rows * spacing_mm, columns * spacing_mm
    if min(down, across) < SMALLEST_FIELD_MM or max(down, across) > LARGEST_FIELD_MM:
        raise UnreadableMammogram(
            f"The image shows {across:.0f} by {down:.0f} mm, which is no whole view of a breast."
        )
    if int(header.BitsAllocated) not in (8, 16):
        raise UnreadableMammogram(f"The image declares {header.BitsAllocated} bits per pixel, not 8 or 16.")
    if int(header.get("BitsStored") or 16) <= 8 and header.get("LossyImageCompression") == "01":
        raise UnreadableMammogram(
            "The image has 8 bits after lossy compression, which hides faint calcifications; send the original."
        )


def _pixels(path: Path) -> NDArray[np.integer[Any]]:
    """Decode the one frame of a file whose header was judged readable."""
    dataset = _dataset(path, stop_before_pixels=False)
    if not dataset.get("PixelData"):
        begun = _PIXEL_DATA_TAG in path.read_bytes()
        missing = "pixel data ends before it is whole" if begun else "image has no pixel data"
        raise UnreadableMammogram(f"The {missing}.")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UnreadableMammogram("The file does not say its transfer syntax.")
    if syntax == JPEGExtended12Bit and int(dataset.get("BitsStored") or 16) > 8:
        raise UnreadableMammogram(
            "The pixels are JPEG Extended with 12 bits, which no decoder here reads; send JPEG Lossless."
        )
    if syntax.is_encapsulated:
        _refuse_codestream(dataset)
    else:
        expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) < expected:
            raise UnreadableMammogram(
                f"The pixel data holds {len(dataset.PixelData):,} of {expected:,} bytes."
            )
    try:
        pixels = np.asarray(pydicom.pixels.pixel_array(dataset, raw=True))
    except DAMAGE as damage:
        raise UnreadableMammogram(f"The {syntax.name} pixel data cannot be decoded.") from damage
    if int(dataset.get("PixelRepresentation") or 0) == 0:
        # overlays in unused high bits (retired, PS3.5 8.1.2) are not grey values
        pixels = pixels & np.array((1 << int(dataset.BitsStored)) - 1, dtype=pixels.dtype)
    return pixels


def _refuse_codestream(dataset: Dataset) -> None:
    """Refuse a compressed frame that is missing, or larger inside than the header declares."""
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1), b"")
    if not frame:
        raise UnreadableMammogram("The image has no pixel data.")
    inside = _codestream_size(frame)
    declared = (int(dataset.Rows), int(dataset.Columns))
    if inside is not None and inside != declared:
        raise UnreadableMammogram(
            f"The compressed frame is {inside[1]} by {inside[0]} pixels, the header declares "
            f"{declared[1]} by {declared[0]}."
        )


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream declares, None where it has none."""
    if frame[:4] == b"\xff\x4f\xff\x51":  # SOC, SIZ: ISO/IEC 15444-1 A.5.1
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return bottom - top, right - left
    if frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">2H", frame, position + 5)  # SOF: ITU-T T.81 B.2.2
            return rows, columns
        position += 2 + length if marker != 0xFF else 1
    return None

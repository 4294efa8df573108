"""Laterality and view position of a mammogram (PS3.3 C.8.11.7, PS3.16 CID 4014)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from typing_extensions import override


class Laterality(StrEnum):
    """Image Laterality (0020,0062)."""

    RIGHT = "R"
    LEFT = "L"
    BOTH = "B"


class ViewPosition(StrEnum):
    """View of a mammogram, by the short names of PS3.3 C.8.11.7.1.2 (CID 4014)."""

    CC = "CC"
    MLO = "MLO"
    ML = "ML"
    LM = "LM"
    LMO = "LMO"
    FB = "FB"
    SIO = "SIO"
    ISO = "ISO"
    XCCL = "XCCL"
    XCCM = "XCCM"
    SPECIMEN = "SPECIMEN"


class ViewModifier(StrEnum):
    """View modifiers (CID 4015) that decide whether and how an image is read."""

    MAGNIFICATION = "magnification"
    SPOT_COMPRESSION = "spot compression"
    IMPLANT_DISPLACED = "implant displaced"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view of one breast."""

    laterality: Laterality
    position: ViewPosition
    modifiers: frozenset[ViewModifier] = frozenset()

    @override
    def __str__(self) -> str:
        """Return the radiographer's name of it: "R CC"."""
        names = "".join(f" ({modifier})" for modifier in sorted(self.modifiers))
        return f"{self.laterality} {self.position}{names}"


SCREENING_SET = frozenset(
    View(laterality=side, position=position)
    for side in (Laterality.RIGHT, Laterality.LEFT)
    for position in (ViewPosition.CC, ViewPosition.MLO)
)
"""Right and left, craniocaudal and mediolateral oblique."""

FROM_ABOVE = frozenset({ViewPosition.CC, ViewPosition.FB})
FROM_THE_SIDE = frozenset({ViewPosition.MLO, ViewPosition.ML, ViewPosition.LM, ViewPosition.LMO})
"""Views whose findings correspond to those of `FROM_ABOVE`: they show the whole breast across."""

VIEW_CODES: dict[ViewPosition, tuple[str, str, str]] = {
    ViewPosition.CC: ("399162004", "R-10242", "cranio-caudal"),
    ViewPosition.MLO: ("399368009", "R-10226", "medio-lateral oblique"),
    ViewPosition.ML: ("399260004", "R-10224", "medio-lateral"),
    ViewPosition.LM: ("399352003", "R-10228", "latero-medial"),
    ViewPosition.LMO: ("399099002", "R-10230", "latero-medial oblique"),
    ViewPosition.FB: ("399196006", "R-10244", "caudo-cranial (from below)"),
    ViewPosition.SIO: ("399188001", "R-102D0", "superolateral to inferomedial oblique"),
    ViewPosition.ISO: ("441555000", "R-40AAA", "inferomedial to superolateral oblique"),
    ViewPosition.XCCL: ("399192008", "R-1024A", "cranio-caudal exaggerated laterally"),
    ViewPosition.XCCM: ("399101009", "R-1024B", "cranio-caudal exaggerated medially"),
    ViewPosition.SPECIMEN: ("127457009", "G-8310", "tissue specimen from breast"),
}
"""CID 4014: SNOMED CT code, legacy SNOMED-RT code, meaning."""

_POSITION_BY_CODE = {code: view for view, codes in VIEW_CODES.items() for code in codes[:2]}
_POSITION_BY_NAME = {view.value: view for view in ViewPosition}
_LATERALITY_BY_NAME = {side.value: side for side in Laterality}
_MODIFIER_BY_CODE = {
    "399163009": ViewModifier.MAGNIFICATION,
    "R-102D6": ViewModifier.MAGNIFICATION,
    "399055006": ViewModifier.SPOT_COMPRESSION,
    "R-102D7": ViewModifier.SPOT_COMPRESSION,
    "399209000": ViewModifier.IMPLANT_DISPLACED,
    "R-102D5": ViewModifier.IMPLANT_DISPLACED,
}


def view_of(header: Dataset) -> View | None:
    """Return the view that a header states, or None where it states no laterality or no view that we know.

    View Code Sequence (0054,0220) comes first; View Position (0018,5101), as older objects have it, second.
    """
    side = _text(header, "ImageLaterality") or _text(header, "Laterality")
    codes = list(header.get("ViewCodeSequence") or [])
    position = _POSITION_BY_CODE.get(_text(codes[0], "CodeValue")) if codes else None
    if position is None:
        position = _POSITION_BY_NAME.get(_text(header, "ViewPosition"))
    laterality = _LATERALITY_BY_NAME.get(side)
    if laterality is None or position is None:
        return None
    return View(laterality=laterality, position=position, modifiers=_modifiers(codes))


def _modifiers(view_codes: Iterable[Dataset]) -> frozenset[ViewModifier]:
    """Return the modifiers of a View Code Sequence; what CID 4015 has beside ours becomes OTHER."""
    return frozenset(
        _MODIFIER_BY_CODE.get(_text(modifier, "CodeValue"), ViewModifier.OTHER)
        for code in view_codes
        for modifier in code.get("ViewModifierCodeSequence") or []
    )


def _text(data_set: Dataset, keyword: str) -> str:
    """Return an attribute as text; nothing where it calls itself a sequence, which as text may be of any length."""
    value = data_set.get(keyword)
    return "" if value is None or isinstance(value, Sequence) else str(value)

"""How the invented vendors write their headers: the habits that a reader of mammograms meets."""

from dataclasses import dataclass

from mammography.view import ViewModifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a vendor writes its headers.

    `detector`: Detector Type (0018,7004). `voi`: VOI LUT Function; `windows`: widths as factors of the scene's
    window, none where `table` gives the grey scale as a VOI LUT Sequence alone. `bits`: Bits Stored, 12 at least;
    more are filled by multiplying. `padding`: air is stated as padding, with its range. `calibrated`: Pixel
    Spacing beside Imager Pixel Spacing. `older_codes`: SNOMED-RT codes. `magnification`: the factor is stated
    for contact views too. `implicit`: Implicit VR Little Endian where no other syntax is asked for.
    """

    manufacturer: str
    model: str
    detector: str = "DIRECT"
    voi: str = "LINEAR"
    windows: tuple[float, ...] = (1.0,)
    table: bool = False
    bits: int = 12
    monochrome1: bool = False
    padding: bool = False
    calibrated: bool = False
    older_codes: bool = False
    magnification: bool = True
    private: bool = False
    implicit: bool = False


HABITS: dict[str, Habit] = {
    "alpha": Habit(manufacturer="Alpha Phantom", model="A-1", windows=(1.0, 0.8, 1.25), private=True),
    "beta": Habit(
        manufacturer="Beta Phantom",
        model="B 3000",
        detector="SCINTILLATOR",
        voi="SIGMOID",
        table=True,
        older_codes=True,
    ),
    "gamma": Habit(
        manufacturer="Gamma Phantom",
        model="G",
        detector="STORAGE",
        monochrome1=True,
        padding=True,
        magnification=False,
    ),
    "delta": Habit(
        manufacturer="Delta Phantom", model="D/2", bits=14, padding=True, calibrated=True, private=True
    ),
    "epsilon": Habit(
        manufacturer="Epsilon Phantom",
        model="CR 5",
        detector="STORAGE",
        windows=(),
        table=True,
        monochrome1=True,
        magnification=False,
    ),
    "film": Habit(
        manufacturer="Film Phantom", model="Scanner", detector="FILM", bits=16, magnification=False
    ),
    "zeta": Habit(
        manufacturer="Zeta Phantom", model="Z", voi="LINEAR_EXACT", bits=16, padding=True, implicit=True
    ),
    "eta": Habit(
        manufacturer="Eta Phantom",
        model="H-5",
        detector="SCINTILLATOR",
        voi="SIGMOID",
        windows=(1.0, 0.8),
        bits=14,
        calibrated=True,
        older_codes=True,
    ),
}
"""Header habits by the names of `lab.phantom.presentation`, `lab.phantom.condition`, and of film."""

MODIFIER_CODES: dict[ViewModifier, tuple[str, str, str]] = {
    ViewModifier.MAGNIFICATION: ("399163009", "R-102D6", "Magnification"),
    ViewModifier.SPOT_COMPRESSION: ("399055006", "R-102D7", "Spot Compression"),
    ViewModifier.IMPLANT_DISPLACED: ("399209000", "R-102D5", "Implant Displaced"),
}
"""CID 4015: SNOMED CT code, legacy SNOMED-RT code, meaning."""

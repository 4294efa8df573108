"""What one destination is to receive: which objects, in which codes, signed by whom."""

from dataclasses import dataclass
from typing import Literal

from mammography.results.composed import Kind

Scheme = Literal["SCT", "SRT"]
"""Which codes stand for anatomy, findings and properties: SNOMED CT, or the retired SNOMED-RT style codes
(PS3.16 section 8) that older mammography workstations look for."""
Template1500 = Literal["comprehensive", "comprehensive-3d"]
"""Which SOP class a TID 1500 report has: Comprehensive SR, or Comprehensive 3D SR (IHE AI Results)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeOptions:
    """How the objects for one destination are written; the defaults are the same for everyone.

    `manufacturer` replaces the text of Manufacturer (0008,0070); None keeps the reader's own. `benign` False leaves
    findings that are called benign out of presentation states, TID 1500 reports and pictures; in the Mammography CAD SR
    they stay, with the rendering intent "not for presentation" (PS3.16 CID 6034). `tid1500_per_image` writes one
    TID 1500 report, in its own series, for each image that was read.
    """

    kinds: frozenset[Kind] = frozenset({"cad-sr", "gsps"})
    scheme: Scheme = "SCT"
    manufacturer: str | None = None
    benign: bool = True
    tid1500: Template1500 = "comprehensive"
    tid1500_per_image: bool = False


USUAL = ComposeOptions()
"""What everyone receives who wants nothing else."""

"""A Mammography CAD SR as it stands in its file: content items by place, findings as points on images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from mammography.coordinates import ImagePoint
from mammography.results import codes
from mammography.results.codes import Code, current

Place = tuple[int, ...]
"""Where a content item stands: 1 for the root, then 1-based places among children (PS3.3 C.17.3.2.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenGraphic:
    """Coordinates with the place of the item that they are selected from, None where that is not by reference."""

    points: tuple[ImagePoint, ...]
    image: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFinding:
    """One Single Image Finding; `number` is what it states as its number of calcifications."""

    place: Place
    kind: str
    intent: str
    tracking_uid: str | None
    certainty: float | None
    center: WrittenGraphic | None
    outline: WrittenGraphic | None
    number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPerformance:
    """One detection or analysis that was performed (TID 4017, 4018), with the images that it names."""

    place: Place
    kind: str
    images: tuple[Place, ...]
    parameters: tuple[str, ...]


class WrittenReport:
    """The content tree of a report, walked once; `findings` are in document order, inner ones after their holder.

    Legacy codes (SRT) are read as the SNOMED CT codes that they stand for. `findings` holds non-lesions too.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.items: dict[Place, Dataset] = dict(_walk(dataset, (1,)))
        self._below: dict[tuple[Place, str, str], list[tuple[Place, Dataset]]] = {}
        self._called: dict[tuple[str, str], list[tuple[Place, Dataset]]] = {}
        for place, item in self.items.items():
            for name in items_of(item, _NAME):
                concept = current(*_identity(name))
                self._below.setdefault((place[:-1], *concept), []).append((place, item))
                self._called.setdefault(concept, []).append((place, item))
        self._found = {
            place: self._finding(place, item) for place, item in self.called(codes.SINGLE_IMAGE_FINDING)
        }
        self.findings: list[WrittenFinding] = list(self._found.values())

    def children(self, place: Place) -> list[tuple[Place, Dataset]]:
        """Return the items right below a place, by value and by reference."""
        item = self.items[place]
        return [((*place, number), item) for number, item in enumerate(items_of(item, _CONTENT), start=1)]

    def called(self, concept: Code) -> list[tuple[Place, Dataset]]:
        """Return the items with a concept name anywhere, in document order."""
        return self._called.get((concept.value, concept.scheme), [])

    def named(self, concept: Code, below: Place = (1,)) -> list[tuple[Place, Dataset]]:
        """Return the items with a concept name right below a place."""
        return self._below.get((below, concept.value, concept.scheme), [])

    def library(self) -> dict[Place, str]:
        """Return the SOP Instance UID of each image of the Image Library, by place."""
        return {
            place: str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for section, _ in self.named(codes.IMAGE_LIBRARY)
            for place, item in self.children(section)
            if text_of(item, TYPE) == "IMAGE"
        }

    def detected(self, container: Code) -> list[Place]:
        """Return the images that the detections in a container name (TID 4015), one place per mention."""
        return [
            image
            for detection in self.performed(codes.SUMMARY_OF_DETECTIONS, container)
            for image in detection.images
        ]

    def performed(self, summary: Code, container: Code) -> list[WrittenPerformance]:
        """Return the detections or analyses in a container below their summary (TID 4015, 4016)."""
        concept = (
            codes.DETECTION_PERFORMED if summary == codes.SUMMARY_OF_DETECTIONS else codes.ANALYSIS_PERFORMED
        )
        return [
            WrittenPerformance(
                place=place,
                kind=value_of_item(item),
                images=tuple(target for _, child in self.children(place) if (target := target_of(child))),
                parameters=self.texts(codes.ALGORITHM_PARAMETERS, place),
            )
            for top, _ in self.named(summary)
            for section, _ in self.named(container, top)
            for place, item in self.named(concept, section)
        ]

    def texts(self, concept: Code, below: Place) -> tuple[str, ...]:
        """Return the values of all items with a concept name right below a place."""
        return tuple(value_of_item(item) for _, item in self.named(concept, below))

    def composites(self) -> list[tuple[Place, list[WrittenFinding]]]:
        """Return every Composite Feature with the findings that it is inferred from (TID 4004)."""
        return [
            (place, [self._found[part] for part, _ in self.named(codes.SINGLE_IMAGE_FINDING, place)])
            for place, _ in self.called(codes.COMPOSITE_FEATURE)
        ]

    def inner(self, finding: WrittenFinding) -> list[WrittenFinding]:
        """Return the findings that a finding is inferred from."""
        return [self._found[place] for place, _ in self.named(codes.SINGLE_IMAGE_FINDING, finding.place)]

    def value_below(self, place: Place, concept: Code) -> str | None:
        """Return the value of the first item with a concept name below a place, as a string."""
        for _, item in self.named(concept, place):
            return value_of_item(item)
        return None

    def _finding(self, place: Place, item: Dataset) -> WrittenFinding:
        """Return one finding."""
        certainty = self.value_below(place, codes.CERTAINTY_OF_FINDING)
        number = self.value_below(place, codes.NUMBER_OF_CALCIFICATIONS)
        return WrittenFinding(
            place=place,
            kind=value_of_item(item),
            intent=self.value_below(place, codes.RENDERING_INTENT) or "",
            tracking_uid=self.value_below(place, codes.TRACKING_UID),
            certainty=None if certainty is None else float(certainty),
            center=self._graphic(place, codes.CENTER),
            outline=self._graphic(place, codes.OUTLINE),
            number=None if number is None else int(float(number)),
        )

    def _graphic(self, place: Place, concept: Code) -> WrittenGraphic | None:
        """Return the coordinates with a concept name below a finding."""
        for graphic_place, item in self.named(concept, place):
            targets = [target for _, child in self.children(graphic_place) if (target := target_of(child))]
            points = points_of(item.get("GraphicData") or [])
            return WrittenGraphic(points=points, image=targets[0] if len(targets) == 1 else None)
        return None


TYPE = BaseTag(0x0040A040)
"""Value Type (0040,A040)."""
CODE_VALUE, CODING_SCHEME, CODE_MEANING = BaseTag(0x00080100), BaseTag(0x00080102), BaseTag(0x00080104)
_NAME, _CONTENT, _TARGET = BaseTag(0x0040A043), BaseTag(0x0040A730), BaseTag(0x0040DB73)
_CODE, _MEASURED, _NUMBER = BaseTag(0x0040A168), BaseTag(0x0040A300), BaseTag(0x0040A30A)


def _walk(item: Dataset, place: Place) -> Iterator[tuple[Place, Dataset]]:
    """Yield every content item with its place, parents first."""
    yield place, item
    for number, child in enumerate(items_of(item, _CONTENT), start=1):
        yield from _walk(child, (*place, number))


def items_of(dataset: Dataset, tag: BaseTag) -> Sequence[Dataset]:
    """Return the items of a sequence, none where there is none."""
    return (dataset[tag].value or ()) if tag in dataset else ()


def text_of(dataset: Dataset, tag: BaseTag) -> str:
    """Return a text of the default repertoire, empty where there is none; undecoded where pydicom has not decoded it.

    To let pydicom decode each would cost most of a look at a report.
    """
    value = dataset.get_item(tag).value if tag in dataset else None
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").rstrip(" \0")
    return "" if value is None else str(value)


def _identity(code: Dataset) -> tuple[str, str]:
    """Return value and scheme of a code."""
    return text_of(code, CODE_VALUE), text_of(code, CODING_SCHEME)


def target_of(item: Dataset) -> Place | None:
    """Return where a by-reference item points, None for an item by value."""
    if _TARGET not in item:
        return None
    identifier = item[_TARGET].value
    return (int(identifier),) if isinstance(identifier, int) else tuple(int(number) for number in identifier)


def value_of_item(item: Dataset) -> str:
    """Return an item's value: the code value, the number, or the string."""
    match text_of(item, TYPE):
        case "CODE":
            return current(*_identity(item[_CODE].value[0]))[0]
        case "NUM":
            return text_of(item[_MEASURED].value[0], _NUMBER).strip()
        case "UIDREF":
            return str(item.UID)
        case "TEXT":
            return str(item.TextValue)
        case _:
            return ""


def points_of(numbers: Iterable[float]) -> tuple[ImagePoint, ...]:
    """Return Graphic Data as points; an odd number at the end is no point."""
    flat = [float(number) for number in numbers]
    return tuple(ImagePoint(column, row) for column, row in zip(flat[::2], flat[1::2], strict=False))

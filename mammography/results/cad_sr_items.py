"""Content items that stand in several places of the report (PS3.16 TID 4019, 4021, 4108, 1204)."""

from collections.abc import Iterable

from mammography.finding import ReaderIdentity
from mammography.results import codes
from mammography.results.codes import Code
from mammography.results.content import (
    Graphic,
    Item,
    Quantity,
    Reference,
    Relationship,
    Words,
    WordType,
)
from mammography.results.source import plain


def text_item(relationship: Relationship, concept: Code, text: str) -> Item:
    """Return a TEXT item, in ASCII."""
    return Item(
        relationship=relationship, concept=concept, value=Words(value_type=WordType.TEXT, text=plain(text))
    )


def property_item(concept: Code, value: Code | Quantity) -> Item:
    """Return a coded or measured property."""
    return Item(relationship=Relationship.HAS_PROPERTIES, concept=concept, value=value)


def percentage(concept: Code, fraction: float) -> Item:
    """Return a number from 0 to 1 as a percentage with one decimal."""
    return property_item(concept, Quantity(number=round(100 * fraction, 1), unit=codes.PERCENT))


def intent_item(intent: Code, operating_point: int | None = None) -> Item:
    """Return a Rendering Intent item; an optional finding's says from which CAD Operating Point it is shown."""
    point = (
        ()
        if operating_point is None or intent is not codes.PRESENTATION_OPTIONAL
        else (property_item(codes.OPERATING_POINT, Quantity(number=operating_point, unit=codes.FROM_ONE)),)
    )
    return Item(
        relationship=Relationship.HAS_CONCEPT_MOD,
        concept=codes.RENDERING_INTENT,
        value=intent,
        children=point,
    )


def algorithm(name: str, reader: ReaderIdentity, parameters: Iterable[str] = ()) -> tuple[Item, ...]:
    """Return the identification of an algorithm of a reader, with its parameters (TID 4019)."""
    return (
        text_item(Relationship.HAS_PROPERTIES, codes.ALGORITHM_NAME, name),
        text_item(Relationship.HAS_PROPERTIES, codes.ALGORITHM_VERSION, reader.version),
        *(
            text_item(Relationship.HAS_PROPERTIES, codes.ALGORITHM_PARAMETERS, parameter)
            for parameter in parameters
        ),
    )


def matcher(reader: ReaderIdentity) -> str:
    """Return the name of the algorithm that says which findings of two views are one lesion."""
    return f"{reader.name}: correspondence of views"


def tracking(identifier: str, uid: str) -> tuple[Item, Item]:
    """Return the name of a lesion, for people and for programs (TID 4108)."""
    return (
        text_item(Relationship.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, identifier),
        Item(
            relationship=Relationship.HAS_OBS_CONTEXT,
            concept=codes.TRACKING_UID,
            value=Words(value_type=WordType.UIDREF, text=uid),
        ),
    )


def graphic_item(concept: Code, graphic: Graphic, entry: Item) -> Item:
    """Return coordinates on an image of the library, which they select by reference (TID 4021)."""
    return Item(
        relationship=Relationship.HAS_PROPERTIES,
        concept=concept,
        value=graphic,
        children=(Reference(relationship=Relationship.SELECTED_FROM, target=entry),),
    )

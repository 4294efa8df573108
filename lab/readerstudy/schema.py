"""The columns of the tables as docs/reader-study.md shows them."""

from enum import StrEnum
from typing import get_args

from pydantic.fields import FieldInfo

from lab.readerstudy.tables import MODEL_FILE, READS_FILE, TRUTH_FILE, ModelRow, ReadRow, Row, TruthRow

FILES: dict[str, type[Row]] = {READS_FILE: ReadRow, TRUTH_FILE: TruthRow, MODEL_FILE: ModelRow}


def schema_tables() -> str:
    """Return every table's columns as Markdown."""
    return "\n\n".join(_table(name, kind) for name, kind in FILES.items())


def _table(name: str, kind: type[Row]) -> str:
    """Return one table's columns."""
    lines = [f"### {name}", "", "| column | needed | values | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{column}` | {'yes' if field.is_required() else ''} | {_values(field)} | {field.description} |"
        for column, field in kind.model_fields.items()
    ]
    return "\n".join(lines)


def _values(field: FieldInfo) -> str:
    """Return what a column's cells may hold."""
    kinds = [field.annotation, *get_args(field.annotation)]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return ", ".join(f"`{member.value}`" for member in kind)
        if kind is float:
            return "0 to 100"
        if kind is int:
            return "1, 2, ..."
    return "text"

"""Structured log lines: a static event name, facts as fields, never a patient's name, number or birth date."""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["console", "json"]


def configure_logging(role: str, *, log_format: LogFormat | None = None, lowest: int = logging.INFO) -> None:
    """Log to standard error: lines for people on a terminal, JSON elsewhere, unless `log_format` says which.

    `role` is bound to every line; what is less urgent than `lowest` is left out. Libraries that use the standard
    library's logging speak from WARNING up.
    """
    chosen = log_format or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=structlog.dev.plain_traceback)
        if chosen == "console"
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if chosen == "json":
        shared.append(_tracebacks_without_values())
    structlog.configure(
        processors=[*shared, _role(role), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _role(role), renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _tracebacks_without_values() -> structlog.typing.Processor:
    """Return a processor that writes a traceback without local variables: they could hold a patient's name."""
    return structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )


def _role(role: str) -> structlog.typing.Processor:
    """Return a processor that says which role of the node speaks."""

    def add(
        _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event.setdefault("role", role)
        return event

    return add

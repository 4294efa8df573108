"""What a log line holds, and what it never does."""

import json
import subprocess
import sys

import pytest

CODE = """
import structlog
from mammography.telemetry.logging import configure_logging
configure_logging("receive", log_format={log_format!r})
log = structlog.get_logger()
def read(header):
    patient_name = header
    raise ValueError("a sentence")
try:
    read("DOE" + "^JANE")
except ValueError:
    log.exception("step-failed", sop_instance_uid="1.2.3")
import logging
logging.getLogger("a.library").warning("from a library")
logging.getLogger("a.library").info("not heard")
"""


def logged(log_format):
    code = CODE.format(log_format=log_format)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format):
    text = logged(log_format)
    assert "a sentence" in text
    assert "read" in text
    assert "JANE" not in text


def test_a_line_is_json_with_its_role_and_facts():
    first, second = (json.loads(line) for line in logged("json").splitlines())
    assert first["event"] == "step-failed"
    assert first["role"] == second["role"] == "receive"
    assert first["sop_instance_uid"] == "1.2.3"
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "from a library"

"""An Orthanc that speaks DICOMweb (PS3.18), by Debian's plugin."""

import json
from pathlib import Path

from lab.demo.orthanc import Orthanc

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class PacsWithDicomWeb(Orthanc):
    """An Orthanc whose images browsers can ask for, and that takes instances by STOW-RS."""

    def configure(self) -> Path:
        """Write the configuration with the plugin in it."""
        path = super().configure()
        settings = json.loads(path.read_text())
        settings |= {
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
        }
        path.write_text(json.dumps(settings, indent=2))
        return path

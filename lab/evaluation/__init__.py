"""Where the reader is measured: what it says beside the truth of synthetic studies, with intervals."""

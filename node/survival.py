"""The one setting of how much is synced."""

from enum import StrEnum


class Survives(StrEnum):
    """What an instance survives once it was answered with success."""

    POWER_CUT = "power-cut"
    """File, name and row are on the disk."""
    KILL = "kill"
    """The operating system has them: enough after `kill -9`, not after a power cut."""

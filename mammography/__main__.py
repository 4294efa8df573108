"""python -m mammography: the same command as mammocalc."""

from mammography.command_line import main

main()

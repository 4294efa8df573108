"""How the doors set up what everybody merely uses: one log format for every role."""

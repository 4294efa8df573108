"""The demonstration: a synthetic study through a running node, and its answer."""

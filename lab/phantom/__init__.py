"""Synthetic mammograms whose calcifications are known exactly: training, tests and the demo use the same ones."""

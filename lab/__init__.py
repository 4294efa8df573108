"""Where the reader is taught and measured: phantom, training, evaluation, demonstration. Never deployed."""

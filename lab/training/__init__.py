"""Where the reader is taught: synthetic scenes, batches, the losses, the run, and the weights folder it leaves."""

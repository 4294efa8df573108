"""Reader studies: what readers find and decide, alone and with the reader, and how sure one is of it."""

"""Speed and size, always as a ratio beside a peer that ran in the same minutes on the same machine."""

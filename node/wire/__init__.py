"""The upper layer of PS3.8 and the command sets of PS3.7: sockets and bytes, and nothing of what they mean to us."""

"""What sees: from pixels to findings. `reader.Reader` is the way in; only `plan` works without torch.

The way of an image: preprocessing (the breast, made comparable), network (maps), detection (points),
clustering (which belong together), classification (what they are), reader (what is said).
"""

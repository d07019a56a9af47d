"""Backbones: normalised images (B, 3, H, W) to four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input."""

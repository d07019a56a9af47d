"""Decode heads: the four feature maps of a backbone to logits, by way of a classifier."""

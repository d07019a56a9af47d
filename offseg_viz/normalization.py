"""Mean and standard deviation by which images are normalised, the same in training, evaluation and extraction.

The usual ImageNet statistics on the 0 .. 255 scale, in RGB order: ``normalised = (image - IMAGE_MEAN) / IMAGE_STD``.
"""

IMAGE_MEAN: tuple[float, float, float] = (123.675, 116.28, 103.53)
"""Mean of the red, green and blue channel, 0 .. 255."""

IMAGE_STD: tuple[float, float, float] = (58.395, 57.12, 57.375)
"""Standard deviation of the red, green and blue channel, 0 .. 255."""

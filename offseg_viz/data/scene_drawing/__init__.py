"""What the procedural scenes are drawn with: a camera, a canvas, a look, and one module a kind of thing.

``camera`` and ``canvas`` say where and how to paint, ``look`` holds the latent variables of one picture,
``streets`` and ``parks`` decide what stands where, and ``photograph`` turns the painted scene into a picture with
light and weather.
"""

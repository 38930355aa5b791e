"""The trainer's process: labels in, model snapshots out, and the pages that show how it is doing.

How a model learns is in `models.learning`. Here is what brings labels to it and its snapshots to the workers. Not here:
sentiment heads and encoders, which are trained by hand (`streams.teaching`).
"""

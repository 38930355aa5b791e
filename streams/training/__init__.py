"""The learner's process: labels in, model snapshots out, and its pages.

How a model learns is in `models.learning`. Here is what carries labels to it and its snapshots to the workers.
"""

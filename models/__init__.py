"""What the product decides: customer state, features, scores, segments, and the pure step that ties them.

Start with `models.step`. `models.text` (the encoder) and `models.learning` (River) are the two rooms that need
heavy libraries; everything else is plain Python and numpy.
"""

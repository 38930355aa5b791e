"""What a scoring process adds to the data plane: decoding, scoring, texts, pages, metrics and the watchdog.

`streams.plane` runs it. The wiring is in `streams.app`.
"""

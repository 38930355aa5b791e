"""What a scoring process adds to the data plane: decoding, scoring, texts, pages, metrics and the watchdog.

`streams.plane` runs it. `wiring` puts a worker together.
"""

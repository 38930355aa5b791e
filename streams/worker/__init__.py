"""What a scoring process adds to the data plane: decoding, scoring, texts, pages, metrics and the watchdog.

`streams.plane` runs the job of `scoring` and knows nothing of customers. A record goes through `decoding`, the pure step
(`models.step`) and `outcomes`; with an unread text it first waits in `text_queue`. `wiring` puts a worker together.
"""

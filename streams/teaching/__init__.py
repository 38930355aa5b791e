"""What texts teach: a sentiment head from labelled texts or a shop's own ratings, an encoder fine-tuned on them.

Nothing here runs in a worker: `regulars encoder` does it beside them, and leaves a file or a directory for them to serve.
"""

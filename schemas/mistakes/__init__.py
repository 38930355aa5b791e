"""What is wrong with a record that is no event: every mistake of it, in words that its producer can act on.

`schemas.events.decode` decides whether a record is an event. This package explains a refusal, and never quotes what a
customer wrote.
"""

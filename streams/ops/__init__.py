"""What on-call runs from outside: lag, the state export, one customer explained, access, erasures, dead letters.

Each has a client of its own and never joins the group of the workers. Most only read. Three write: `erasing` sends
erasures, `resending` sends refused records back, and `sent_back` commits which of them were sent.
"""

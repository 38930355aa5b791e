"""What on-call runs from outside: lag, the state export, one customer explained, erasures, dead letters.

Each reads with a client of its own and never joins the group of the workers. Three modules write: `erasing` sends erasures,
`dead_letters` sends refused records back, and `sent_back` commits which of them were sent.
"""

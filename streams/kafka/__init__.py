"""How Kafka is reached: every client is made here, and every reason why Kafka cannot be used has its name here.

`security` turns settings into a client's arguments, `clients` makes the clients, `errors` and `refusals` say why Kafka
cannot be used, `patience` waits for it. `cluster`, `readers`, `broadcast`, `changelog` and `topics` read and make topics.
Nothing here decodes a record's value.
"""

"""How Kafka is reached. Every client of the project is made here; every reason why Kafka cannot be used has its name here.

Nothing here knows what the records mean.
"""

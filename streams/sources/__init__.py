"""Sources of events: real data sets and a simulated shop, and the producer that sends them in event-time order."""

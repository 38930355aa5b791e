"""Everything that touches the world: Kafka, disk, the web, the command line. It moves records; `models` decides."""

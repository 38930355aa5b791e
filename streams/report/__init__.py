"""Pages and files written from history: a backtest, what was forecast beside what came. Nothing here asks Kafka."""

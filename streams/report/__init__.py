"""Files and pages made from a file of history: the forecasts of a backtest beside the outcomes. Nothing here uses Kafka."""

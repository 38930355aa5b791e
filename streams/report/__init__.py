"""The page of a backtest: what was forecast beside what came, as one HTML file that opens offline."""

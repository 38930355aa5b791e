"""Pages and their numbers: of a backtest, a campaign, the shop. `shop_reading` alone reads Kafka; the rest is computed."""

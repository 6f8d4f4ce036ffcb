"""The services of Flatline. They know capabilities, not what stands behind them."""

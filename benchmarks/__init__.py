"""What things cost, each figure beside its bar: `python -m benchmarks [NAME...]` prints one table (README.md)."""

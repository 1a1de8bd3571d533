"""What the method costs: measured by `make bench`, recorded in `data/benchmarks`, read by the book."""

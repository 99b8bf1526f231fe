"""What the benchmarks share: sites with either cache, paired measurements, tables and pictures."""

"""What the benchmarks share: real sites of both caches, pairs of measurements, tables and pictures."""

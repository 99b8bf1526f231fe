"""Measurements beside `guillotina.contrib.cache`, one module a question: `python -m benchmarks` runs them all."""

"""Measurements beside `guillotina.contrib.cache`, one module each: `python -m benchmarks` runs them all."""

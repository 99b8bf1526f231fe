"""Histories of real processes under faults, and whether they are linearizable."""

"""Histories of real processes under faults, checked for linearizability."""

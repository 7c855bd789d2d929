"""Measures whether the benches would notice a bug: they run on units with one put in."""

"""Measures what the benches reach in the RTL: branches, toggles, and cases that matter."""

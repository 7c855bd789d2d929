"""Cycles of a program on the accelerator, predicted without RTL."""

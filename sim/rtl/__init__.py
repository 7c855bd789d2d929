"""The RTL itself, run natively: verilated, compiled once, and driven from Python through ctypes."""

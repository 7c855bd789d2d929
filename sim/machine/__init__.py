"""The functional machine: executes encoded programs on buffers and streams, without time."""

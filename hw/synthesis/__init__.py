"""Open synthesis, place and route of a whole accelerator: `docs/fpga.md`."""

"""Area and clock of the accelerator's units on two FPGA families: `docs/area.md`."""

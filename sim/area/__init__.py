"""Area and clock of the accelerator's units on three FPGA families: `docs/area.md`."""

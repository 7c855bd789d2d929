"""The accelerator as a core for vendors' own tools: an IP for Vivado, and scripts that build it."""

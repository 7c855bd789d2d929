"""Self-contained designs for boards."""

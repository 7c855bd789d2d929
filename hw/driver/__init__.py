"""What runs on the host: the driver of the registers in C, the serial link's in Python."""

"""What every engine of compiled C++ shares: the tools, their cache, and the memory's timing."""

/* A board with one accelerator: its verilated RTL, and a memory that the CPU sees through a cache.
 *
 * Given to the compiler before the driver's own header, as a user's would be.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *rtl;        /* the simulation behind the C ABI of sim/rtl/runner.cpp */
    uint8_t *cached;  /* memory as the CPU sees it */
    uint8_t *memory;  /* memory as the accelerator sees it */
    uint32_t latency; /* cycles of a read from memory */
    uint32_t odd;     /* offset of a register that reads as something else */
    uint32_t flipped; /* what is wrong there */
    uint32_t writes;  /* accesses that the driver has made */
} board;

extern board the_board;

uint32_t board_read(board *to, uint32_t offset);
void board_write(board *to, uint32_t offset, uint32_t value);
void board_clean(const uint8_t *start, size_t bytes);
void board_invalidate(const uint8_t *start, size_t bytes);

#define ROOTSHIFT_READ(device, offset) board_read((device)->registers, offset)
#define ROOTSHIFT_WRITE(device, offset, value) board_write((device)->registers, offset, value)
#define ROOTSHIFT_CLEAN(start, bytes) board_clean(start, bytes)
#define ROOTSHIFT_INVALIDATE(start, bytes) board_invalidate(start, bytes)

#endif

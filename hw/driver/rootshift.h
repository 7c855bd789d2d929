/* Driver of a Rootshift accelerator: C99, no operating system needed.
 *
 * The accelerator has registers behind AXI4-Lite and reads and writes memory by itself. A program
 * image (program.bin) holds the commands, the constants and room for input images and logits; it
 * lies in memory at a multiple of ROOTSHIFT_ALIGNMENT bytes. Caches are the caller's business:
 * memory that the accelerator reads must have been written back, memory that it has written must
 * not come from a cache.
 *
 *     rootshift_device device = {registers, memory, address};
 *     if (rootshift_open(&device)) ...
 *     memcpy(memory, program_bin, ROOTSHIFT_IMAGE_BYTES);
 *     rootshift_put_image(&device, 0, pixels);
 *     if (rootshift_run(&device, 0)) ...
 *     rootshift_get_logits(&device, 0, logits);
 */
#ifndef ROOTSHIFT_H
#define ROOTSHIFT_H

#include <stdint.h>

#include "rootshift_csr.h"
#include "rootshift_program.h"

#define ROOTSHIFT_ALIGNMENT 4096u

typedef struct {
    void *registers;  /* where the registers are mapped, or what the hooks below take */
    uint8_t *memory;  /* where the program image is mapped */
    uint64_t address; /* the same place as the accelerator addresses it */
} rootshift_device;

/* Access to a register; define both before this header to go another way than memory mapping. */
#ifndef ROOTSHIFT_READ
#define ROOTSHIFT_READ(device, offset) \
    (((volatile uint32_t *)(device)->registers)[(offset) / 4u])
#define ROOTSHIFT_WRITE(device, offset, value) \
    (((volatile uint32_t *)(device)->registers)[(offset) / 4u] = (value))
#endif

/* What the functions give back. */
typedef enum {
    ROOTSHIFT_OK = 0,
    ROOTSHIFT_NOT_THERE,      /* IDENTITY is another */
    ROOTSHIFT_OTHER_VERSION,  /* the registers have another major version, or an older minor one */
    ROOTSHIFT_OTHER_CONFIG,   /* the program was compiled for another configuration */
    ROOTSHIFT_NOT_ALIGNED,    /* the address is not a multiple of ROOTSHIFT_ALIGNMENT */
    ROOTSHIFT_BUSY,           /* a run is on its way */
    ROOTSHIFT_STOPPED,        /* the run was stopped: see rootshift_error */
    ROOTSHIFT_TIMEOUT         /* the run has not ended after so many polls */
} rootshift_result;

typedef struct {
    uint32_t cause;   /* ROOTSHIFT_ERROR_CAUSE_... */
    uint64_t address; /* of the access or of the command */
} rootshift_stop;

/* Check that the device is there and that the program fits it. */
rootshift_result rootshift_open(const rootshift_device *device);

/* Copy image `n` (uint8 [height][width][channels]) to where the program reads it. */
void rootshift_put_image(const rootshift_device *device, uint32_t n, const uint8_t *pixels);

/* Start a run, counters at zero, with the interrupt enabled (1) or not (0). */
rootshift_result rootshift_start(const rootshift_device *device, int interrupt);

/* ROOTSHIFT_BUSY while the run is on its way, then ROOTSHIFT_OK or ROOTSHIFT_STOPPED. */
rootshift_result rootshift_poll(const rootshift_device *device);

/* Acknowledge the interrupt. */
void rootshift_acknowledge(const rootshift_device *device);

/* Start without interrupt and poll until the end, at most `polls` times (0: for ever). */
rootshift_result rootshift_run(const rootshift_device *device, uint64_t polls);

/* Why the last run was stopped. */
rootshift_stop rootshift_error(const rootshift_device *device);

/* Cycles from start to interrupt of the last run. */
uint64_t rootshift_cycles(const rootshift_device *device);

/* Copy the logits of image `n` (int32 [ROOTSHIFT_CLASSES]) from where the program wrote them. */
void rootshift_get_logits(const rootshift_device *device, uint32_t n, int32_t *logits);

#endif

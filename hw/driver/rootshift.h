/* Driver of a Rootshift accelerator: C99, no operating system, no dynamic memory.
 *
 * The accelerator has registers behind AXI4-Lite, and reads and writes memory by itself. A program
 * (program.bin) holds the commands, the constants and room for input images and logits; it lies in
 * memory at a multiple of ROOTSHIFT_ALIGNMENT bytes.
 *
 *     rootshift_device device = {registers, memory, address};
 *     if (rootshift_open(&device) == ROOTSHIFT_OK) {
 *         rootshift_load(&device, program);
 *         rootshift_put_image(&device, 0, pixels);
 *         if (rootshift_run(&device, 0) == ROOTSHIFT_OK)
 *             rootshift_get_logits(&device, 0, logits);
 *     }
 *
 * Three places can be fitted to a board by defining macros before this header is read, for the
 * driver and all that includes it alike (a compiler's -include does it): access to registers,
 * what follows a write to memory, and what comes before a read.
 */
#ifndef ROOTSHIFT_H
#define ROOTSHIFT_H

#include <stdint.h>

#include "rootshift_csr.h"
#include "rootshift_program.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ROOTSHIFT_ALIGNMENT 4096u

typedef struct {
    void *registers;  /* where the registers are mapped, or what the macros below make of it */
    uint8_t *memory;  /* where ROOTSHIFT_PROGRAM_BYTES of memory are mapped */
    uint64_t address; /* the same place as the accelerator addresses it */
} rootshift_device;

/* Access to the register at a byte offset. */
#ifndef ROOTSHIFT_READ
#define ROOTSHIFT_READ(device, offset) \
    (((const volatile uint32_t *)(device)->registers)[(offset) / 4u])
#define ROOTSHIFT_WRITE(device, offset, value) \
    (((volatile uint32_t *)(device)->registers)[(offset) / 4u] = (value))
#endif

/* CLEAN comes after the driver has written these bytes for the accelerator, INVALIDATE before it
 * reads what the accelerator has written. Memory that is cached, and not coherent, needs its caches
 * written back, and forgotten, here; any other needs no more than its accesses in order. */
#ifndef ROOTSHIFT_CLEAN
#ifdef __GNUC__
#define ROOTSHIFT_CLEAN(start, bytes) __sync_synchronize()
#define ROOTSHIFT_INVALIDATE(start, bytes) __sync_synchronize()
#else
#error "define ROOTSHIFT_CLEAN and ROOTSHIFT_INVALIDATE: memory barriers, or cache maintenance"
#endif
#endif

/* What the functions give back. */
typedef enum {
    ROOTSHIFT_OK = 0,
    ROOTSHIFT_NOT_THERE,     /* what answers is no Rootshift accelerator */
    ROOTSHIFT_OTHER_VERSION, /* its registers have another major version, or an older minor one */
    ROOTSHIFT_OTHER_CONFIG,  /* the program was compiled for another configuration */
    ROOTSHIFT_OTHER_PROGRAM, /* program.bin is not the one that the headers were generated with */
    ROOTSHIFT_BAD_PLACE,     /* the address is not aligned, or too high for the accelerator */
    ROOTSHIFT_NO_SUCH_IMAGE, /* the program has fewer images */
    ROOTSHIFT_IDLE,          /* nothing has been started since reset */
    ROOTSHIFT_BUSY,          /* a run is on its way, or a stopped one waits for the bus */
    ROOTSHIFT_STOPPED,       /* the run was stopped: see rootshift_error */
    ROOTSHIFT_TIMEOUT        /* after so many polls the run has not ended; it goes on */
} rootshift_result;

typedef struct {
    uint32_t cause;   /* ROOTSHIFT_ERROR_CAUSE_... */
    uint64_t address; /* of the access or of the command, or of the word in a buffer */
} rootshift_stop;

/* Check that the device is there and that the program fits it. */
rootshift_result rootshift_open(const rootshift_device *device);

/* Check program.bin, ROOTSHIFT_PROGRAM_BYTES, and copy it to where it runs; ROOTSHIFT_BUSY during a
 * run. Once is enough: runs change nothing of it but the logits. */
rootshift_result rootshift_load(const rootshift_device *device, const uint8_t *program);

/* Copy image `n` (uint8 [height][width][channels]) to where the program reads it. */
rootshift_result rootshift_put_image(const rootshift_device *device, uint32_t n,
                                     const uint8_t *pixels);

/* Start a run, counters at zero, with an interrupt at its end (1) or without (0). ROOTSHIFT_BUSY
 * where there is a run already: one that was stopped by an error can stay busy after it has told
 * so, until the bus has answered all that it was asked. */
rootshift_result rootshift_start(const rootshift_device *device, int interrupt);

/* ROOTSHIFT_BUSY while the run is on its way, then ROOTSHIFT_OK or ROOTSHIFT_STOPPED. */
rootshift_result rootshift_poll(const rootshift_device *device);

/* Acknowledge the interrupt, which falls; to be followed by rootshift_poll. */
void rootshift_acknowledge(const rootshift_device *device);

/* Wait until the device is free, start without interrupt, and poll until the end; after `polls`
 * polls in all (0: never) ROOTSHIFT_TIMEOUT. */
rootshift_result rootshift_run(const rootshift_device *device, uint64_t polls);

/* Why the last run was stopped. */
rootshift_stop rootshift_error(const rootshift_device *device);

/* Cycles from start to interrupt of the last run. */
uint64_t rootshift_cycles(const rootshift_device *device);

/* Copy the logits of image `n` (int32 [ROOTSHIFT_CLASSES]) from where the program wrote them. */
rootshift_result rootshift_get_logits(const rootshift_device *device, uint32_t n, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif

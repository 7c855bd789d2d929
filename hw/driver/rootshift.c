/* Driver of a Rootshift accelerator: see rootshift.h. */
#include "rootshift.h"

#include <string.h>

#define EVENTS (ROOTSHIFT_INTERRUPT_DONE_MASK | ROOTSHIFT_INTERRUPT_ERROR_MASK)

static uint64_t read_long(const rootshift_device *device, uint32_t low) {
    /* Reading the low word keeps the high word of that moment. */
    const uint64_t value = ROOTSHIFT_READ(device, low);
    return value | (uint64_t)ROOTSHIFT_READ(device, low + 4u) << 32;
}

static uint32_t status(const rootshift_device *device) {
    return ROOTSHIFT_READ(device, ROOTSHIFT_STATUS_OFFSET);
}

static uint32_t adler32(const uint8_t *bytes, size_t count) {
    uint32_t low = 1, high = 0;
    while (count--) {
        low = (low + *bytes++) % 65521u;
        high = (high + low) % 65521u;
    }
    return high << 16 | low;
}

rootshift_result rootshift_open(const rootshift_device *device) {
    static const uint32_t config[ROOTSHIFT_CONFIG_WORDS] = ROOTSHIFT_PROGRAM_CONFIG;
    const uint64_t last = device->address + ROOTSHIFT_PROGRAM_BYTES - 1u;
    if (ROOTSHIFT_READ(device, ROOTSHIFT_IDENTITY_OFFSET) != ROOTSHIFT_IDENTITY_MAGIC_VALUE)
        return ROOTSHIFT_NOT_THERE;
    const uint32_t version = ROOTSHIFT_READ(device, ROOTSHIFT_VERSION_OFFSET);
    const uint32_t major = version >> ROOTSHIFT_VERSION_MAJOR_SHIFT;
    const uint32_t minor = version & ROOTSHIFT_VERSION_MINOR_MASK;
    if (major != ROOTSHIFT_VERSION_MAJOR_VALUE || minor < ROOTSHIFT_VERSION_MINOR_VALUE)
        return ROOTSHIFT_OTHER_VERSION;
    for (uint32_t word = 0; word < ROOTSHIFT_CONFIG_WORDS; word++)
        if (ROOTSHIFT_READ(device, ROOTSHIFT_CONFIG_OFFSET + 4u * word) != config[word])
            return ROOTSHIFT_OTHER_CONFIG;
    if (device->address % ROOTSHIFT_ALIGNMENT || last < device->address ||
        last >> ROOTSHIFT_ADDRESS_WIDTH)
        return ROOTSHIFT_BAD_PLACE;
    return ROOTSHIFT_OK;
}

rootshift_result rootshift_load(const rootshift_device *device, const uint8_t *program) {
    if (adler32(program, ROOTSHIFT_PROGRAM_BYTES) != ROOTSHIFT_PROGRAM_ADLER32)
        return ROOTSHIFT_OTHER_PROGRAM;
    if (status(device) & ROOTSHIFT_STATUS_BUSY_MASK) return ROOTSHIFT_BUSY;
    memcpy(device->memory, program, ROOTSHIFT_PROGRAM_BYTES);
    ROOTSHIFT_CLEAN(device->memory, ROOTSHIFT_PROGRAM_BYTES);
    return ROOTSHIFT_OK;
}

rootshift_result rootshift_put_image(const rootshift_device *device, uint32_t n,
                                     const uint8_t *pixels) {
    if (n >= ROOTSHIFT_IMAGES) return ROOTSHIFT_NO_SUCH_IMAGE;
    uint8_t *to = device->memory + ROOTSHIFT_INPUT_OFFSET + (size_t)n * ROOTSHIFT_INPUT_STRIDE;
    memcpy(to, pixels, ROOTSHIFT_INPUT_BYTES);
    ROOTSHIFT_CLEAN(to, ROOTSHIFT_INPUT_BYTES);
    return ROOTSHIFT_OK;
}

rootshift_result rootshift_start(const rootshift_device *device, int interrupt) {
    if (status(device) & ROOTSHIFT_STATUS_BUSY_MASK) return ROOTSHIFT_BUSY;
    rootshift_acknowledge(device);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_INTERRUPT_ENABLE_OFFSET, interrupt ? EVENTS : 0u);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_ENTRY_ADDRESS_LOW_OFFSET, (uint32_t)device->address);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_ENTRY_ADDRESS_HIGH_OFFSET, (uint32_t)(device->address >> 32));
    ROOTSHIFT_WRITE(device, ROOTSHIFT_CONTROL_OFFSET,
                    ROOTSHIFT_CONTROL_START_MASK | ROOTSHIFT_CONTROL_CLEAR_COUNTERS_MASK);
    return ROOTSHIFT_OK;
}

rootshift_result rootshift_poll(const rootshift_device *device) {
    const uint32_t now = status(device);
    if (now & ROOTSHIFT_STATUS_ERROR_MASK) return ROOTSHIFT_STOPPED;
    if (now & ROOTSHIFT_STATUS_DONE_MASK) return ROOTSHIFT_OK;
    return now & ROOTSHIFT_STATUS_BUSY_MASK ? ROOTSHIFT_BUSY : ROOTSHIFT_IDLE;
}

void rootshift_acknowledge(const rootshift_device *device) {
    ROOTSHIFT_WRITE(device, ROOTSHIFT_INTERRUPT_OFFSET, EVENTS);
}

rootshift_result rootshift_run(const rootshift_device *device, uint64_t polls) {
    rootshift_result result;
    uint64_t polled = 0;
    while (rootshift_start(device, 0) == ROOTSHIFT_BUSY)
        if (++polled == polls) return ROOTSHIFT_TIMEOUT;
    while ((result = rootshift_poll(device)) == ROOTSHIFT_BUSY)
        if (++polled == polls) return ROOTSHIFT_TIMEOUT;
    return result;
}

rootshift_stop rootshift_error(const rootshift_device *device) {
    rootshift_stop stop;
    stop.cause = (ROOTSHIFT_READ(device, ROOTSHIFT_ERROR_CAUSE_OFFSET) &
                  ROOTSHIFT_ERROR_CAUSE_MASK) >> ROOTSHIFT_ERROR_CAUSE_SHIFT;
    stop.address = read_long(device, ROOTSHIFT_ERROR_ADDRESS_LOW_OFFSET);
    return stop;
}

uint64_t rootshift_cycles(const rootshift_device *device) {
    return read_long(device, ROOTSHIFT_CYCLES_COUNT_LOW_OFFSET);
}

rootshift_result rootshift_get_logits(const rootshift_device *device, uint32_t n,
                                      int32_t *logits) {
    if (n >= ROOTSHIFT_IMAGES) return ROOTSHIFT_NO_SUCH_IMAGE;
    const uint8_t *from =
        device->memory + ROOTSHIFT_OUTPUT_OFFSET + (size_t)n * ROOTSHIFT_OUTPUT_STRIDE;
    ROOTSHIFT_INVALIDATE(from, ROOTSHIFT_OUTPUT_BYTES);
    for (uint32_t i = 0; i < ROOTSHIFT_CLASSES; i++, from += 4)
        logits[i] = (int32_t)(from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
                              (uint32_t)from[3] << 24);
    return ROOTSHIFT_OK;
}

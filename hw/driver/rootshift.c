/* Driver of a Rootshift accelerator: see rootshift.h. */
#include "rootshift.h"

#include <string.h>

static uint64_t read_long(const rootshift_device *device, uint32_t low) {
    /* Reading the low word keeps the high word of that moment. */
    const uint64_t value = ROOTSHIFT_READ(device, low);
    return value | (uint64_t)ROOTSHIFT_READ(device, low + 4u) << 32;
}

rootshift_result rootshift_open(const rootshift_device *device) {
    static const uint32_t config[ROOTSHIFT_CONFIG_WORDS] = ROOTSHIFT_PROGRAM_CONFIG;
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
    return device->address % ROOTSHIFT_ALIGNMENT ? ROOTSHIFT_NOT_ALIGNED : ROOTSHIFT_OK;
}

void rootshift_put_image(const rootshift_device *device, uint32_t n, const uint8_t *pixels) {
    uint8_t *to = device->memory + ROOTSHIFT_INPUT_OFFSET + n * (uint64_t)ROOTSHIFT_INPUT_STRIDE;
    memcpy(to, pixels, ROOTSHIFT_INPUT_BYTES);
}

rootshift_result rootshift_start(const rootshift_device *device, int interrupt) {
    if (ROOTSHIFT_READ(device, ROOTSHIFT_STATUS_OFFSET) & ROOTSHIFT_STATUS_BUSY_MASK)
        return ROOTSHIFT_BUSY;
    const uint32_t events = ROOTSHIFT_INTERRUPT_DONE_MASK | ROOTSHIFT_INTERRUPT_ERROR_MASK;
    rootshift_acknowledge(device);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_INTERRUPT_ENABLE_OFFSET, interrupt ? events : 0u);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_ENTRY_ADDRESS_LOW_OFFSET, (uint32_t)device->address);
    ROOTSHIFT_WRITE(device, ROOTSHIFT_ENTRY_ADDRESS_HIGH_OFFSET, (uint32_t)(device->address >> 32));
    ROOTSHIFT_WRITE(device, ROOTSHIFT_CONTROL_OFFSET,
                    ROOTSHIFT_CONTROL_START_MASK | ROOTSHIFT_CONTROL_CLEAR_COUNTERS_MASK);
    return ROOTSHIFT_OK;
}

rootshift_result rootshift_poll(const rootshift_device *device) {
    const uint32_t status = ROOTSHIFT_READ(device, ROOTSHIFT_STATUS_OFFSET);
    if (status & ROOTSHIFT_STATUS_ERROR_MASK) return ROOTSHIFT_STOPPED;
    return status & ROOTSHIFT_STATUS_DONE_MASK ? ROOTSHIFT_OK : ROOTSHIFT_BUSY;
}

void rootshift_acknowledge(const rootshift_device *device) {
    ROOTSHIFT_WRITE(device, ROOTSHIFT_INTERRUPT_OFFSET,
                    ROOTSHIFT_INTERRUPT_DONE_MASK | ROOTSHIFT_INTERRUPT_ERROR_MASK);
}

rootshift_result rootshift_run(const rootshift_device *device, uint64_t polls) {
    rootshift_result result = rootshift_start(device, 0);
    if (result != ROOTSHIFT_OK) return result;
    for (uint64_t poll = 0; !polls || poll < polls; poll++) {
        result = rootshift_poll(device);
        if (result != ROOTSHIFT_BUSY) return result;
    }
    return ROOTSHIFT_TIMEOUT;
}

rootshift_stop rootshift_error(const rootshift_device *device) {
    rootshift_stop stop;
    stop.cause = ROOTSHIFT_READ(device, ROOTSHIFT_ERROR_CAUSE_OFFSET) & ROOTSHIFT_ERROR_CAUSE_MASK;
    stop.address = read_long(device, ROOTSHIFT_ERROR_ADDRESS_LOW_OFFSET);
    return stop;
}

uint64_t rootshift_cycles(const rootshift_device *device) {
    return read_long(device, ROOTSHIFT_CYCLES_COUNT_LOW_OFFSET);
}

void rootshift_get_logits(const rootshift_device *device, uint32_t n, int32_t *logits) {
    const uint8_t *from =
        device->memory + ROOTSHIFT_OUTPUT_OFFSET + n * (uint64_t)ROOTSHIFT_OUTPUT_STRIDE;
    memcpy(logits, from, ROOTSHIFT_CLASSES * sizeof *logits);
}

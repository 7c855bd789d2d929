/* What a user does with the driver, and what can go wrong: one scenario per run of this program.
 *
 *     board SCENARIO program.bin pixels.bin
 *
 * prints the logits of the last run, one a line, and ends with 1 where something is not as it must.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rootshift.h"
#include "rootshift_isa.h"

#define BASE 0xa512345000u
#define BEAT 16u
#define UNTOUCHED 0x55
#define MEMORY_BYTES ((ROOTSHIFT_PROGRAM_BYTES + BEAT - 1u) / BEAT * BEAT)
#define EXPECT(value, right) expect(__LINE__, #value, (uint64_t)(value), (uint64_t)(right))

/* The layout of rtl::Timing. */
typedef struct {
    uint64_t seed;
    uint32_t read_latency, write_latency, extra_latency, bandwidth, hold[5], burst;
} timing;

void *rtl_open(uint8_t *contents, uint64_t base, uint64_t size);
void rtl_close(void *rtl);
int rtl_read(void *rtl, uint32_t offset, uint32_t *value);
int rtl_write(void *rtl, uint32_t offset, uint32_t value);
int rtl_start(void *rtl, uint32_t offset, uint32_t value, const timing *memory, const void *faults,
              uint64_t count);
int rtl_advance(void *rtl, uint64_t cycles);
int rtl_irq(void *rtl);
const char *rtl_violation(void *rtl);

board the_board;

static uint8_t program[ROOTSHIFT_PROGRAM_BYTES];
static uint8_t pixels[ROOTSHIFT_IMAGES][ROOTSHIFT_INPUT_BYTES];
static uint8_t cached[MEMORY_BYTES], memory[MEMORY_BYTES];
static rootshift_device device = {&the_board, cached, BASE};

static void expect(int line, const char *what, uint64_t value, uint64_t right) {
    if (value == right) return;
    fprintf(stderr, "board.c:%d: %s must be %llu, not %llu\n", line, what,
            (unsigned long long)right, (unsigned long long)value);
    exit(1);
}

uint32_t board_read(board *to, uint32_t offset) {
    uint32_t value = 0;
    EXPECT(rtl_read(to->rtl, offset, &value), 0);
    return offset == to->odd ? value ^ to->flipped : value;
}

void board_write(board *to, uint32_t offset, uint32_t value) {
    const timing memory_timing = {0, to->latency, 1, 0, 1 << 16, {0}, 256};
    to->writes++;
    if (offset == ROOTSHIFT_CONTROL_OFFSET)
        EXPECT(rtl_start(to->rtl, offset, value, &memory_timing, NULL, 0), 0);
    else
        EXPECT(rtl_write(to->rtl, offset, value), 0);
}

/* Only these bytes pass, so that a driver that forgets any computes with what was there before. */
void board_clean(const uint8_t *start, size_t bytes) {
    memcpy(memory + (start - cached), start, bytes);
}

void board_invalidate(const uint8_t *start, size_t bytes) {
    memcpy(cached + (start - cached), memory + (start - cached), bytes);
}

static void put_images(void) {
    for (uint32_t n = 0; n < ROOTSHIFT_IMAGES; n++)
        EXPECT(rootshift_put_image(&device, n, pixels[n]), ROOTSHIFT_OK);
}

static void set_up(void) {
    EXPECT(rootshift_open(&device), ROOTSHIFT_OK);
    EXPECT(rootshift_poll(&device), ROOTSHIFT_IDLE);
    EXPECT(rootshift_load(&device, program), ROOTSHIFT_OK);
    put_images();
}

static void print_logits(void) {
    for (uint32_t n = 0; n < ROOTSHIFT_IMAGES; n++) {
        int32_t logits[ROOTSHIFT_CLASSES];
        EXPECT(rootshift_get_logits(&device, n, logits), ROOTSHIFT_OK);
        for (uint32_t i = 0; i < ROOTSHIFT_CLASSES; i++) printf("%ld\n", (long)logits[i]);
    }
}

static void run_and_print(void) {
    EXPECT(rootshift_run(&device, 0), ROOTSHIFT_OK);
    EXPECT(rootshift_error(&device).cause, ROOTSHIFT_ERROR_CAUSE_NONE);
    print_logits();
}

/* Make command `n` one that nobody knows. */
static void damage(uint32_t n) {
    uint8_t *command = cached + n * ROOTSHIFT_ISA_COMMAND_BYTES;
    rootshift_isa_set(command, ROOTSHIFT_ISA_OPCODE_BIT, ROOTSHIFT_ISA_OPCODE_WIDTH, 0xff);
    board_clean(command, ROOTSHIFT_ISA_COMMAND_BYTES);
}

static void infer(void) {
    set_up();
    run_and_print();
    const uint64_t cycles = rootshift_cycles(&device);
    EXPECT(cycles > ROOTSHIFT_PROGRAM_BYTES / BEAT, 1);
    EXPECT(rtl_irq(the_board.rtl), 0);
}

/* Runs of other images, without loading the program anew; those that count are the last. */
static void many_runs(void) {
    static uint8_t black[ROOTSHIFT_INPUT_BYTES];
    set_up();
    for (uint32_t n = 0; n < ROOTSHIFT_IMAGES; n++)
        EXPECT(rootshift_put_image(&device, n, black), ROOTSHIFT_OK);
    EXPECT(rootshift_run(&device, 0), ROOTSHIFT_OK);
    const uint64_t cycles = rootshift_cycles(&device);
    put_images();
    run_and_print();
    /* Counters begin anew, and time does not depend on data. */
    EXPECT(rootshift_cycles(&device), cycles);
}

static void flip(uint32_t offset, uint32_t bits, rootshift_result right) {
    the_board.odd = offset;
    the_board.flipped = bits;
    EXPECT(rootshift_open(&device), right);
    the_board.flipped = 0;
}

static void other_devices(void) {
    for (uint32_t bit = 0; bit < 32; bit++)
        flip(ROOTSHIFT_IDENTITY_OFFSET, 1u << bit, ROOTSHIFT_NOT_THERE);
    const uint32_t minor = ROOTSHIFT_VERSION_MINOR_VALUE;
    flip(ROOTSHIFT_VERSION_OFFSET, minor ^ (minor - 1u), ROOTSHIFT_OTHER_VERSION);
    flip(ROOTSHIFT_VERSION_OFFSET, minor ^ (minor + 1u), ROOTSHIFT_OK);
    flip(ROOTSHIFT_VERSION_OFFSET, 1u << ROOTSHIFT_VERSION_MAJOR_SHIFT, ROOTSHIFT_OTHER_VERSION);
    for (uint32_t word = 0; word < ROOTSHIFT_CONFIG_WORDS; word++)
        flip(ROOTSHIFT_CONFIG_OFFSET + 4u * word, 1, ROOTSHIFT_OTHER_CONFIG);
    static const uint64_t wrong[] = {BASE + 16u, (uint64_t)1 << ROOTSHIFT_ADDRESS_WIDTH,
                                     UINT64_MAX - 4095u};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        device.address = wrong[n];
        EXPECT(rootshift_open(&device), ROOTSHIFT_BAD_PLACE);
    }
    device.address = ((uint64_t)1 << ROOTSHIFT_ADDRESS_WIDTH) -
                     (ROOTSHIFT_PROGRAM_BYTES + 4095u) / 4096u * 4096u;
    EXPECT(rootshift_open(&device), ROOTSHIFT_OK);
    EXPECT(the_board.writes, 0);
}

static void other_images(void) {
    int32_t logits[ROOTSHIFT_CLASSES];
    static const uint32_t wrong[] = {ROOTSHIFT_IMAGES, UINT32_MAX};
    set_up();
    uint8_t before[MEMORY_BYTES];
    memcpy(before, cached, sizeof before);
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        EXPECT(rootshift_put_image(&device, wrong[n], pixels[0]), ROOTSHIFT_NO_SUCH_IMAGE);
        EXPECT(rootshift_get_logits(&device, wrong[n], logits), ROOTSHIFT_NO_SUCH_IMAGE);
    }
    EXPECT(memcmp(before, cached, sizeof before), 0);
    run_and_print();
}

static void other_programs(void) {
    static uint8_t other[ROOTSHIFT_PROGRAM_BYTES];
    EXPECT(rootshift_open(&device), ROOTSHIFT_OK);
    for (uint32_t at = 0; at < ROOTSHIFT_PROGRAM_BYTES; at += 61) {
        memcpy(other, program, sizeof other);
        other[at]++;
        EXPECT(rootshift_load(&device, other), ROOTSHIFT_OTHER_PROGRAM);
    }
    for (uint32_t at = 0; at < ROOTSHIFT_PROGRAM_BYTES; at++) EXPECT(cached[at], UNTOUCHED);
    set_up();
    run_and_print();
}

static void damaged(void) {
    set_up();
    for (uint32_t n = 0; n < 40; n += 13) {
        damage(n);
        EXPECT(rootshift_run(&device, 0), ROOTSHIFT_STOPPED);
        const rootshift_stop stop = rootshift_error(&device);
        EXPECT(stop.cause, ROOTSHIFT_ERROR_CAUSE_BAD_OPCODE);
        EXPECT(stop.address, BASE + n * ROOTSHIFT_ISA_COMMAND_BYTES);
        EXPECT(rootshift_load(&device, program), ROOTSHIFT_OK);
    }
    put_images();
    run_and_print();
}

static void unmapped(void) {
    set_up();
    device.address = BASE + (uint64_t)4096 * 4096;
    EXPECT(rootshift_run(&device, 0), ROOTSHIFT_STOPPED);
    const rootshift_stop stop = rootshift_error(&device);
    EXPECT(stop.cause, ROOTSHIFT_ERROR_CAUSE_READ_DECERR);
    EXPECT(stop.address, device.address);
    device.address = BASE;
    run_and_print();
}

/* The error is told while the bus still owes answers; nothing may be started before they came. */
static void bus_that_hangs(void) {
    set_up();
    the_board.latency = 5000;
    ROOTSHIFT_WRITE(&device, ROOTSHIFT_WATCHDOG_OFFSET, 100);
    EXPECT(rootshift_run(&device, 0), ROOTSHIFT_STOPPED);
    EXPECT(rootshift_error(&device).cause, ROOTSHIFT_ERROR_CAUSE_WATCHDOG);
    EXPECT(rootshift_start(&device, 0), ROOTSHIFT_BUSY);
    EXPECT(rootshift_load(&device, program), ROOTSHIFT_BUSY);
    EXPECT(rootshift_run(&device, 3), ROOTSHIFT_TIMEOUT);
    EXPECT(rootshift_poll(&device), ROOTSHIFT_STOPPED);
    the_board.latency = 1;
    run_and_print();
}

static void out_of_patience(void) {
    set_up();
    EXPECT(rootshift_run(&device, 3), ROOTSHIFT_TIMEOUT);
    EXPECT(rootshift_poll(&device), ROOTSHIFT_BUSY);
    EXPECT(rootshift_start(&device, 1), ROOTSHIFT_BUSY);
    EXPECT(rootshift_load(&device, program), ROOTSHIFT_BUSY);
    while (rootshift_poll(&device) == ROOTSHIFT_BUSY) {}
    EXPECT(rootshift_poll(&device), ROOTSHIFT_OK);
    EXPECT(rtl_irq(the_board.rtl), 0);
    print_logits();
}

static void wait_for_interrupt(rootshift_result right) {
    EXPECT(rootshift_start(&device, 1), ROOTSHIFT_OK);
    EXPECT(rtl_irq(the_board.rtl), 0);
    EXPECT(rootshift_poll(&device), ROOTSHIFT_BUSY);
    EXPECT(rtl_advance(the_board.rtl, 1000000), 1);
    EXPECT(rtl_irq(the_board.rtl), 1);
    rootshift_acknowledge(&device);
    EXPECT(rtl_irq(the_board.rtl), 0);
    EXPECT(rootshift_poll(&device), right);
}

static void interrupts(void) {
    set_up();
    wait_for_interrupt(ROOTSHIFT_OK);
    damage(20);
    wait_for_interrupt(ROOTSHIFT_STOPPED);
    /* An event that nobody has acknowledged is not the next run's. */
    EXPECT(rootshift_run(&device, 0), ROOTSHIFT_STOPPED);
    EXPECT(rtl_irq(the_board.rtl), 0);
    EXPECT(rootshift_load(&device, program), ROOTSHIFT_OK);
    put_images();
    wait_for_interrupt(ROOTSHIFT_OK);
    print_logits();
}

static void read_file(const char *path, void *to, size_t bytes) {
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL, 1);
    EXPECT(fread(to, 1, bytes, file), bytes);
    EXPECT(fgetc(file), EOF);
    fclose(file);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        {"infer", infer},
        {"many_runs", many_runs},
        {"other_devices", other_devices},
        {"other_images", other_images},
        {"other_programs", other_programs},
        {"damaged", damaged},
        {"unmapped", unmapped},
        {"bus_that_hangs", bus_that_hangs},
        {"out_of_patience", out_of_patience},
        {"interrupts", interrupts},
    };
    EXPECT(count, 4);
    read_file(words[2], program, sizeof program);
    read_file(words[3], pixels, sizeof pixels);
    memset(cached, UNTOUCHED, sizeof cached);
    memset(memory, 0xaa, sizeof memory);
    the_board = (board){rtl_open(memory, BASE, sizeof memory), cached, memory, 1, 0, 0, 0};
    int found = 0;
    for (size_t n = 0; n < sizeof scenarios / sizeof *scenarios; n++)
        if (!strcmp(words[1], scenarios[n].name)) {
            scenarios[n].run();
            found = 1;
        }
    EXPECT(found, 1);
    EXPECT(*rtl_violation(the_board.rtl), 0);
    rtl_close(the_board.rtl);
    return 0;
}

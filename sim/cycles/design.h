// The accelerator that is modelled, and what its parts are called. Names and values of the sizes
// and latencies come from design.py, which has them from where the hardware has them.

#pragma once

#include <cstdint>

#include "isa.h"
#include "timing.h"

namespace cycles {

namespace native = rootshift;

// Parts side by side in one function would be slower: they would share its registers.
#define APART __attribute__((noinline))

struct Nothing {};

#define FIELD(name) int64_t name;
struct Design {
    DESIGN_FIELDS
};
#undef FIELD

enum Client : int { SEQUENCER_READS, FETCH_READS, PATCHIFY_READS, CLIENTS };

// Parts are worked off in this order within a cycle: who gives a grant before who asks next.
enum Part : int {
    BUS,
    SEQUENCER,
    FETCH,
    STORE,
    SOFTMAX,
    PRODUCT,
    LAYERNORM,
    ATTENTION,
    PATCHIFY,
    WEIGHTS,
    PARTS
};
constexpr Part READERS[CLIENTS] = {SEQUENCER, FETCH, PATCHIFY};

}  // namespace cycles

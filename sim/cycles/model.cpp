// The cycle model of the whole accelerator, behind a C ABI that model.py binds.
//
// Parts are worked off when something can happen to them, in the cycle in which it does; cycles in
// which nothing happens are passed over. Cycle 0 is the one in which the start strobe is high.

#include "attention.h"
#include "bus.h"
#include "fetch.h"
#include "layernorm.h"
#include "patchify.h"
#include "product.h"
#include "sequencer.h"
#include "softmax.h"
#include "store.h"
#include "weights.h"

namespace cycles {

class Machine {
  public:
    Machine(const Design& design, const uint8_t* program, int64_t commands,
            const native::Timing& timing)
        : m_design(design), m_timing(timing), bus(m_design, m_timing),
          sequencer(m_design, program, commands), fetch(m_design), store(m_design, m_timing),
          softmax(m_design), product(m_design), layernorm(m_design), attention(m_design),
          patchify(m_design), weights(m_design) {}

    // A part has something to do in that cycle, or may have; in this one if its turn is to come.
    void poke(Part part, Cycle at) {
        if (at <= m_now)
            m_active |= 1u << part;
        else if (at == m_now + 1)
            m_soon |= 1u << part;
        else if (at < m_wake[part])
            m_earliest = std::min(m_earliest, m_wake[part] = at);
    }

    Reader& reader(int client) {
        if (client == SEQUENCER_READS) return sequencer.reader;
        return client == FETCH_READS ? fetch.reader : patchify.reader;
    }
    // Work off the readers' beats up to that cycle.
    void settle_readers(Cycle until) {
        sequencer.reader.settle(bus, until);
        fetch.reader.settle(bus, until);
        patchify.reader.settle(bus, until);
    }

    // Returns the cycle of the interrupt, or -1 where there is none up to `limit`; with `dense` all
    // parts are worked off in all cycles.
    Cycle run(Cycle limit, bool dense) {
        std::fill(m_wake, m_wake + PARTS, NEVER);
        m_soon = ALL;
        Cycle finished = NEVER;
        while (step(limit, dense)) {
            if (!sequencer.ended(m_now)) continue;
            if (finished <= m_now && bus.idle(m_now) && !store.logits.busy(m_now))
                return m_now + m_design.interrupt;
            if (!idle()) continue;
            if (finished == NEVER) finished = m_now + 1;
            poke(SEQUENCER, m_now + 1);
        }
        return -1;
    }

  private:
    static constexpr uint32_t ALL = (1u << PARTS) - 1;

    // Nothing is at work in this cycle.
    bool idle() { return sequencer.idle(*this, m_now) && !fetch.busy(*this, m_now); }

    // Work off the next cycle in which anything happens, if it is not beyond `limit`.
    bool step(Cycle limit, bool dense) {
        m_now = m_soon || dense ? m_now + 1 : m_earliest;
        if (m_now > limit) return false;
        m_active = dense ? ALL : m_soon;
        m_soon = 0;
        if (m_earliest <= m_now) wake();
        while (m_active) {
            Part part = Part(__builtin_ctz(m_active));
            m_active &= m_active - 1;
            m_wake[part] = NEVER;
            work(part);
        }
        return true;
    }

    void wake() {
        m_earliest = NEVER;
        for (int part = 0; part < PARTS; ++part)
            if (m_wake[part] <= m_now)
                m_active |= 1u << part;
            else
                m_earliest = std::min(m_earliest, m_wake[part]);
    }

    void work(Part part) {
        switch (part) {
            case BUS: return bus.tick(*this, m_now);
            case SEQUENCER: return sequencer.tick(*this, m_now);
            case FETCH: return fetch.tick(*this, m_now);
            case STORE: return store.tick(*this, m_now);
            case SOFTMAX: return softmax.tick(*this, m_now);
            case PRODUCT: return product.tick(*this, m_now);
            case LAYERNORM: return layernorm.tick(*this, m_now);
            case ATTENTION: return attention.tick(*this, m_now);
            case PATCHIFY: return patchify.tick(*this, m_now);
            case WEIGHTS: return weights.tick(*this, m_now);
            case PARTS: return;
        }
    }

    Design m_design;
    native::Timing m_timing;
    Cycle m_now = 0, m_wake[PARTS], m_earliest = NEVER;
    uint32_t m_active = 0, m_soon = 0;

  public:
    Bus bus;
    Sequencer sequencer;
    Fetch fetch;
    Store store;
    Softmax softmax;
    Product product;
    LayerNorm layernorm;
    Attention attention;
    Patchify patchify;
    Weights weights;
};

}  // namespace cycles

#define ABI extern "C" __attribute__((visibility("default")))
using cycles::Machine;

ABI void* cycles_open(const cycles::Design* design, const uint8_t* program, int64_t commands,
                      const rootshift::Timing* timing) {
    return new Machine(*design, program, commands, *timing);
}

ABI void cycles_close(void* self) { delete static_cast<Machine*>(self); }

ABI int64_t cycles_run(void* self, int64_t limit, int dense) {
    return static_cast<Machine*>(self)->run(limit, dense);
}

ABI void cycles_commands(void* self, int64_t* begun, int64_t* done) {
    const auto& sequencer = static_cast<Machine*>(self)->sequencer;
    std::copy(sequencer.begun.begin(), sequencer.begun.end(), begun);
    std::copy(sequencer.done.begin(), sequencer.done.end(), done);
}

// Cycles of the array by state, a row per product and one more; `rows` is null to ask how many.
ABI int64_t cycles_array(void* self, int64_t end, int64_t* rows) {
    std::vector<int64_t> states = static_cast<Machine*>(self)->product.states(end);
    if (rows) std::copy(states.begin(), states.end(), rows);
    return int64_t(states.size());
}

// Busy and stalled cycles of each counted unit, in the order of csr.UNITS.
ABI void cycles_units(void* self, int64_t* pairs) {
    Machine& m = *static_cast<Machine*>(self);
    int64_t found[][2] = {
        {m.bus.read_beats, m.bus.stall()},
        {m.store.logits.write_beats, m.store.logits.stall},
        {m.product.busy, m.product.stall},
        {m.layernorm.busy - m.layernorm.stall, m.layernorm.stall},
        {m.softmax.busy, m.softmax.stall},
        {m.attention.busy - m.attention.stall, m.attention.stall},
        {m.store.gelu, 0},
        {m.store.residuals, 0},
    };
    std::copy(&found[0][0], &found[0][0] + sizeof found / sizeof(int64_t), pairs);
}

ABI void cycles_traffic(void* self, int64_t* to) {
    const Machine& m = *static_cast<Machine*>(self);
    const auto& writes = m.store.logits;
    int64_t found[] = {m.bus.read_bursts,   m.bus.read_beats,   m.bus.read_bytes,
                       writes.write_bursts, writes.write_beats, writes.write_bytes};
    std::copy(std::begin(found), std::end(found), to);
}

// Beats per window, of reads (0) or writes (1).
ABI uint64_t cycles_windows(void* self, int writes, const uint32_t** beats) {
    const Machine& m = *static_cast<Machine*>(self);
    const rootshift::Windows& windows = writes ? m.store.logits.windows : m.bus.windows;
    *beats = windows.data();
    return windows.size();
}

// The fetch unit: runs of memory to the streams of other units (hw/fetch_unit.py).

#pragma once

#include "sequencer.h"

namespace cycles {

class Fetch {
  public:
    explicit Fetch(const Design& design) : reader(design, FETCH_READS) {}

    // The cycle from which on a beat for this destination can be taken, as far as is known; who
    // gets NEVER is woken when it is.
    template <class Machine>
    Cycle available(Machine& machine, Cycle now, int64_t destination) {
        Cycle at = reader.available(machine.bus, now);
        if (at < NEVER && reader.run() == destination) return at;
        m_awaited |= 1u << destination;
        return NEVER;
    }
    template <class Machine>
    void take(Machine& machine, Cycle now) {
        int64_t destination = reader.run();
        reader.pop(machine, now);
        if (reader.run() != destination) wake_taker(machine, now);
    }

    template <class Machine>
    bool busy(Machine& machine, Cycle now) {
        return m_order_from <= now || reader.busy(machine.bus, now);
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        bool ordered = m_order_from <= now;
        if (reader.tick(machine, now, ordered ? &m_run : nullptr)) {
            machine.sequencer.finish(machine, isa::UNIT_FETCH, now);
            m_order_from = NEVER;
        } else if (!ordered && machine.sequencer.offers(isa::UNIT_FETCH) <= now) {
            Command command = machine.sequencer.give(machine, isa::UNIT_FETCH, now);
            m_run = {command[isa::FETCH_OFFSET], command[isa::FETCH_BEATS],
                     command[isa::FETCH_DESTINATION]};
            m_order_from = now + 1;
            machine.poke(FETCH, now + 1);
        }
        if (m_awaited) wake_taker(machine, now);
        if (m_order_from == NEVER)
            machine.poke(FETCH, machine.sequencer.next(isa::UNIT_FETCH, now));
    }

    Reader reader;

  private:
    template <class Machine>
    void wake_taker(Machine& machine, Cycle now) {
        static constexpr Part TAKERS[] = {WEIGHTS, LAYERNORM, STORE, STORE};
        Cycle at = reader.available(machine.bus, now);
        if (at == NEVER || !(m_awaited >> reader.run() & 1)) return;
        machine.poke(TAKERS[reader.run()], std::max(now + 1, at));
        m_awaited &= ~(1u << reader.run());
    }

    Reader::Run m_run{};
    Cycle m_order_from = NEVER;
    uint32_t m_awaited = 0;  // destinations that were told NEVER
};

}  // namespace cycles

// The movers through which units read (hw/read_dma.py, hw/axi_bursts.py).

#pragma once

#include "bus.h"

namespace cycles {

// A mover of one unit: runs of beats in, as bursts, and beats out in order.
//
// Beats come through two registers before they are offered. That they come there follows from when
// the ones before were popped, so it is worked out when somebody asks, and not cycle by cycle.
class Reader {
  public:
    struct Run {
        int64_t address, beats, number;
    };

    Reader(const Design& design, int client)
        : m_design(design), m_client(client), m_commands(design.reader_bursts + 2) {}

    // The cycle from which on a beat can be popped, as far as is known, and the number of its run.
    Cycle available(Bus& bus, Cycle now) {
        settle(bus, now - 1);
        if (!m_offered.empty()) return m_offered.available();
        return m_taking < NEVER ? m_taking + 1 : NEVER;
    }
    int64_t run() const {
        if (!m_offered.empty()) return m_offered.front();
        return m_commands.size() ? m_commands.front().number : -1;
    }
    template <class Machine>
    void pop(Machine& machine, Cycle now) {
        if (m_offered.size() == REGISTERS) m_room_from = now + 1;
        m_offered.pop(now);
        look(machine.bus);
        wake(machine, now);
    }

    // Work off what was certain to happen up to that cycle.
    void settle(Bus& bus, Cycle until) {
        while (m_taking <= until) take(bus, m_taking);
    }
    // Find the cycle in which the next beat comes to the registers, as far as is known.
    void look(Bus& bus) {
        m_taking = NEVER;
        if (m_owed && m_offered.size() < REGISTERS)
            m_taking = std::max(
                {bus.data(m_client).available(), m_commands.available(), m_room_from});
    }

    // A run is offered, if it is not null; returns whether it is taken.
    template <class Machine>
    bool tick(Machine& machine, Cycle now, const Run* run) {
        settle(machine.bus, now - 1);
        bool puts = m_splits && !machine.bus.asks(m_client, now) &&
                    m_bursts != m_design.reader_bursts;
        bool free = !m_splits, taken = false;
        if (puts) put(machine, now);
        if (run && free && m_commands.writable(now)) {
            m_commands.push(now, {run->beats, run->number});
            m_splits = taken = true;
            m_run = {run->address, run->beats};
        }
        m_waits = run && !taken;
        look(machine.bus);
        wake(machine, now);
        return taken;
    }

    // The run that was offered last has not been taken.
    bool waits() const { return m_waits; }

    bool busy(Bus& bus, Cycle now) {
        settle(bus, now - 1);
        return m_commands.level(now) || m_offered.level(now);
    }

  private:
    static constexpr int64_t REGISTERS = 2;
    struct Command {
        int64_t beats, number;
    };

    void take(Bus& bus, Cycle at) {
        bus.data(m_client).pop(at);
        const Command& command = m_commands.front();
        m_offered.push(at, command.number);
        --m_owed;
        if (--m_burst_left.front() == 0) {
            m_burst_left.pop();
            --m_bursts;
        }
        if (++m_place == command.beats) {
            m_place = 0;
            m_commands.pop(at);
        }
        look(bus);
    }

    template <class Machine>
    void put(Machine& machine, Cycle now) {
        int64_t beats = m_run.next(m_design);
        machine.bus.ask(m_client, now, beats);
        machine.poke(BUS, now + 1);
        m_splits = m_run.left > 0;
        ++m_bursts;
        m_owed += beats;
        m_burst_left.push(beats);
    }

    // Come back when it can go on with asking.
    template <class Machine>
    void wake(Machine& machine, Cycle now) {
        Bus& bus = machine.bus;
        Part part = READERS[m_client];
        if (m_splits && !bus.asks(m_client, now + 1)) {
            bool full = m_bursts == m_design.reader_bursts;
            Cycle at = full ? m_taking + m_burst_left.front() : now + 1;
            machine.poke(part, std::max(now + 1, at));
        }
        // A run waits for the splitter, which is looked at above, or for room among the commands.
        if (m_waits && !m_splits) {
            bool room = m_commands.writable(now + 1);
            machine.poke(part, room ? now + 1 : std::max(now + 1, m_taking + 1));
        }
    }

    const Design& m_design;
    int m_client;
    BufferedQueue<Command> m_commands;
    Queue<int64_t> m_offered{REGISTERS, 1};
    Ring<int64_t> m_burst_left;
    Cycle m_room_from = PAST, m_taking = NEVER;
    bool m_splits = false, m_waits = false;
    Splitter m_run;
    int64_t m_bursts = 0, m_owed = 0, m_place = 0;
};

}  // namespace cycles

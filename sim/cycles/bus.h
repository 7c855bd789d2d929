// The reading side of the memory bus: memory and arbiter (hw/read_arbiter.py; the memory behaves as
// sim/rtl/axi_memory.h), and what the writing side has like it.

#pragma once

#include <algorithm>

#include "design.h"
#include "queues.h"

namespace cycles {

constexpr int64_t PAGE = 4096, ONE_BEAT = native::ONE_BEAT;

// What one direction may move: a beat needs a whole credit, and what is left is kept for one beat.
class Credit {
  public:
    explicit Credit(int64_t bandwidth) : m_bandwidth(bandwidth) {}
    bool enough(Cycle now) {
        int64_t spans = now - m_at;
        if (spans > 0) {
            int64_t kept = std::min<int64_t>(m_credit, ONE_BEAT);
            m_credit = std::min(kept + spans * m_bandwidth, ONE_BEAT + m_bandwidth);
            m_at = now;
        }
        return m_credit >= ONE_BEAT;
    }
    void spend() { m_credit -= ONE_BEAT; }

  private:
    int64_t m_bandwidth, m_credit = ONE_BEAT;
    Cycle m_at = 0;
};

// What is left of a run of beats, and its next burst: none crosses a page (hw/axi_bursts.py).
struct Splitter {
    int64_t address = 0, left = 0;

    // Beats of the next burst, which is the last one if nothing is left after it.
    int64_t next(const Design& design) {
        int64_t page_left = (PAGE - address % PAGE) / design.bus_bytes;
        int64_t beats = std::min({left, page_left, design.burst_beats});
        address += beats * design.bus_bytes;
        left -= beats;
        return beats;
    }
};

class Bus {
  public:
    Bus(const Design& design, const native::Timing& timing)
        : m_design(design), m_timing(timing), m_credit(timing.bandwidth),
          m_order(design.read_bursts + 1),
          m_steady(timing.hold[native::R] == 0 && timing.bandwidth >= ONE_BEAT) {
        for (Client& client : m_clients) {
            client.data =
                BufferedQueue<Nothing>(design.reader_bursts * design.burst_beats + 1);
        }
    }

    // What a mover asks for, from the next cycle on.
    void ask(int client, Cycle now, int64_t beats) {
        m_clients[client].asks_from = now + 1;
        m_clients[client].beats = beats;
    }
    // Whether an address is there, in the cycle in which it is taken too.
    bool asks(int client, Cycle now) const {
        return m_clients[client].asks_from <= now || m_clients[client].granted_at == now;
    }
    BufferedQueue<Nothing>& data(int client) { return m_clients[client].data; }

    bool idle(Cycle now) const { return m_address_from > now && m_order.level(now) == 0; }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        machine.settle_readers(now - 1);
        if (!m_offered_now && m_working) m_stall += now - m_ticked - 1;
        offer(now);
        m_stall += !idle(now) && !m_offered;
        if (m_offered && m_order.available() <= now) {
            if (m_moved_until < now) move(machine, now);
            if (m_moved_until == now) moved(now);
        }
        bool accepted = m_address_from <= now && !m_timing.held(native::AR, now);
        if (accepted) accept(now);
        grant(machine, now, accepted || m_address_from > now);
        m_ticked = now;
        m_offered_now = m_offered;
        m_working = m_address_from < NEVER || m_order.size() > 0;
        machine.poke(BUS, next(now));
    }

    int64_t read_bursts = 0, read_beats = 0, read_bytes = 0;
    int64_t stall() const { return m_stall; }
    native::Windows windows;

  private:
    struct Client {
        Cycle asks_from = NEVER, granted_at = PAST;
        int64_t beats = 0;
        BufferedQueue<Nothing> data{0};
    };
    struct Burst {
        Cycle due;
        int64_t beats;
        int client;
    };

    void offer(Cycle now) {
        if (m_offered || m_reads.empty() || m_reads.front().due > now) return;
        if (!m_credit.enough(now) || m_timing.held(native::R, now)) return;
        m_credit.spend();
        m_offered = true;
    }

    // The beat that is offered, and all that follow it in the burst where nothing can stop them:
    // there is room for all that was asked for.
    template <class Machine>
    void move(Machine& machine, Cycle now) {
        Burst& burst = m_reads.front();
        machine.poke(READERS[burst.client], now + 2);
        int64_t beats = m_steady ? burst.beats : 1;
        burst.beats -= beats;
        m_moved_until = now + beats - 1;
        for (Cycle at = now; at <= m_moved_until; ++at) {
            m_clients[burst.client].data.push(at);
            windows.count(at);
        }
        read_beats += beats;
        machine.reader(burst.client).look(*this);
    }

    // The last of these beats moves in this cycle.
    void moved(Cycle now) {
        m_offered = false;
        if (m_reads.front().beats) return;
        m_reads.pop();
        m_order.pop(now);
    }

    void accept(Cycle now) {
        Cycle extra = m_timing.extra(native::R, read_bursts++);
        read_bytes += m_asked.beats * m_design.bus_bytes;
        m_asked.due = now + m_timing.read_latency + extra;
        m_reads.push(m_asked);
        m_address_from = NEVER;
    }

    // The clients in turn, from the one behind the last served on.
    template <class Machine>
    void grant(Machine& machine, Cycle now, bool free) {
        if (!free || m_order.level(now) == m_design.read_bursts) return;
        for (int step = 1; step <= CLIENTS; ++step) {
            int number = (m_last + step) % CLIENTS;
            Client& client = m_clients[number];
            if (client.asks_from > now) continue;
            client.asks_from = NEVER;
            client.granted_at = now;
            m_last = number;
            m_asked = {0, client.beats, number};
            m_address_from = now + 1;
            m_order.push(now);
            machine.poke(READERS[number], now + 1);
            return;
        }
    }

    Cycle next(Cycle now) const {
        Cycle at = NEVER;
        if (m_offered)
            at = std::max({now + 1, m_order.available(), m_moved_until});
        else if (!m_reads.empty())
            at = std::max(now + 1, m_reads.front().due);
        if (m_address_from < NEVER) return now + 1;
        for (const Client& client : m_clients)
            if (client.asks_from < NEVER) return now + 1;
        return at;
    }

    const Design& m_design;
    const native::Timing& m_timing;
    Credit m_credit;
    Client m_clients[CLIENTS];
    int m_last = CLIENTS - 1;
    BufferedQueue<Nothing> m_order;
    Ring<Burst> m_reads;
    Burst m_asked{};
    Cycle m_address_from = NEVER, m_ticked = 0, m_moved_until = PAST;
    bool m_steady;  // beats of a burst follow each other
    bool m_offered = false, m_offered_now = false, m_working = false;
    int64_t m_stall = 0;
};

}  // namespace cycles

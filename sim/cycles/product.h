// Matrix products: the GEMM unit, the array, accumulators, totals that wait, and the requantizer
// (hw/gemm_unit.py, hw/systolic_array.py, hw/gemm.py and what they use).
//
// Vectors that nothing can stop go in one step, as many as that is certain for; only their outputs
// are followed one by one.

#pragma once

#include "vectors.h"

namespace cycles {

class Product {
  public:
    explicit Product(const Design& design)
        : m_design(design), m_words(design.words_waiting, design.word),
          m_sums(design.accumulators), m_totals(design.token_depth),
          m_outputs(design.requantizer), m_taken(design.skid_beats, design.skid),
          m_parts(design.cols / design.lanes) {}

    // The bank of the code buffer that is asked for in this cycle, or -1.
    int asks(Cycle now) const {
        if (m_asked == now) return m_asked_address % isa::CODE_BANKS;
        int64_t ahead = now - m_run_from;
        if (ahead < 0 || ahead >= m_run_count) return -1;
        int64_t beyond = ahead - m_run_left;
        return (beyond < 0 ? m_run_address + ahead : m_run_next + beyond) % isa::CODE_BANKS;
    }

    // Whether the shadow bank takes a column, and from when on, if the array does not stand.
    bool takes_column(Cycle now) const { return column_from(now) <= now; }
    Cycle column_from(Cycle now) const {
        if (m_loaded == m_design.cols) return NEVER;
        return m_swapped + m_design.rows + m_loaded + stalled(now);
    }
    template <class Machine>
    void load(Machine& machine, Cycle now) {
        if (++m_loaded < m_design.cols) return;
        m_tile_from = now + 1;
        machine.poke(PRODUCT, now + 1);
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        give(machine, now);
        add_up(now);
        // Vectors that end no sums come out in time, and nothing comes of them.
        if (!uncertain()) m_flight.clear();
        if (now >= m_run_end) {
            if (m_busy)
                work(machine, now);
            else if (machine.sequencer.offers(isa::UNIT_GEMM) <= now)
                begin(machine, now);
        }
        machine.poke(PRODUCT, next(machine, now));
    }

    // A row for each product that has ended, and one for what follows: cycles by state.
    std::vector<int64_t> states(Cycle end) {
        std::vector<int64_t> rows = m_states;
        rows.insert(rows.end(), std::begin(m_row), std::end(m_row));
        rows[rows.size() - STATES + IDLE] += end - m_moved;
        return rows;
    }
    int64_t busy = 0, stall = 0, waits[3] = {};

  private:
    enum State { IDLE, BUSY, WAITS_WEIGHTS, WAITS_ACTIVATIONS, WAITS_OUTPUT, STATES };
    struct Vector {
        Cycle mark;
        bool last, retires;
    };
    struct Total {
        bool retires = false;
    };

    // Whether something on its way may have to wait: then all vectors are followed.
    bool uncertain() const { return m_ending > 0 || !m_sums.empty(); }

    // Cycles in which the array has stood up to now.
    Cycle stalled(Cycle now) const {
        Cycle offered = m_flight.empty() ? NEVER : m_flight.front().mark + m_stalled;
        return m_stalled + (offered < now ? now - offered : 0);
    }

    // Outputs to the store, totals to the requantizer.
    template <class Machine>
    void give(Machine& machine, Cycle now) {
        if (m_taken.available() <= now && machine.store.ready(machine, now)) {
            m_taken.pop(now);
            machine.store.accept(machine, now);
        }
        if (m_outputs.offered() <= now && m_taken.writable(now)) {
            m_taken.push(now);
            if (m_outputs.front().retires) machine.weights.retire(machine, now);
            m_outputs.take(now);
        }
        if (m_outputs.stands(now)) return;
        if (m_parts == 1) {
            if (m_sums.offered() > now) return;
            m_outputs.push(now, m_sums.front());
            m_sums.take(now);
        } else if (m_totals.available() <= now) {
            bool last = ++m_part == m_parts;
            m_outputs.push(now, {last && m_totals.front().retires});
            if (!last) return;
            m_part = 0;
            m_totals.pop(now);
        }
    }

    // Sums to the queue of totals, and what leaves the array to the accumulators.
    void add_up(Cycle now) {
        if (!uncertain()) return;
        if (m_parts > 1 && m_sums.offered() <= now && m_totals.writable(now)) {
            m_totals.push(now, m_sums.front());
            m_sums.take(now);
        }
        if (m_flight.empty() || m_sums.stands(now)) return;
        const Vector& head = m_flight.front();
        if (head.mark + m_stalled > now) return;
        m_stalled = now - head.mark;
        if (head.last) {
            m_sums.push(now, {head.retires});
            --m_ending;
        }
        m_flight.pop();
    }

    bool array_stands(Cycle now) const {
        return !m_flight.empty() && m_flight.front().mark + m_stalled <= now;
    }

    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_GEMM, now);
        m_ask = m_send = Walk(command);
        m_busy = true;
        m_row[IDLE] += now - m_moved;
        m_moved = now;
        m_begun = now;
    }

    template <class Machine>
    void work(Machine& machine, Cycle now) {
        // What is asked for counts from the next cycle on, and so does the room that a word leaves.
        bool asks = !m_ask.over() && m_words.writable(now);
        if (m_words.available() <= now) send(machine, now);
        if (asks) {
            m_words.push(now);
            m_asked = now;
            m_asked_address = m_ask.address();
            m_ask.advance();
        }
        if (m_busy && m_moved == now) run(now);
    }

    template <class Machine>
    void send(Machine& machine, Cycle now) {
        bool first = m_send.first();
        if (array_stands(now) || (first && m_tile_from > now)) return;
        Cycle offered = std::max(m_words.available(), m_moved + 1);
        m_row[WAITS_ACTIVATIONS] += offered - m_moved - 1;
        Cycle weights = first ? std::clamp(m_tile_from, offered, now) - offered : 0;
        m_row[WAITS_WEIGHTS] += weights;
        m_row[WAITS_OUTPUT] += now - offered - weights;
        ++m_row[BUSY];
        m_moved = now;
        m_words.pop(now);
        if (first) {
            m_swapped = now - stalled(now);
            m_loaded = 0;
            m_tile_from = NEVER;
            machine.poke(WEIGHTS, now);
        }
        bool ends = m_send.token() == m_send.tokens() - 1;
        bool last = m_send.last_pass();
        depart(now, last, ends && m_send.retires());
        bool final = ends && m_send.ends_command();
        m_send.advance();
        if (final) finish(machine, now);
    }

    // A vector enters the array.
    void depart(Cycle now, bool last, bool retires) {
        if (uncertain() || (last && m_totals.certain() < 1) || (last && m_parts == 1)) {
            m_flight.push({now - m_stalled + m_design.array, last, retires});
            m_ending += last;
        } else if (last) {
            m_totals.push(now + m_design.array + m_design.accumulators, {retires});
        }
    }

    // As many vectors as are sure to go, one in each cycle from the next on.
    void run(Cycle now) {
        int64_t left = m_send.tokens() - m_send.token();
        bool last = m_send.last_pass();
        if (m_send.token() == 0 || m_send.tokens() < m_design.words_waiting || uncertain()) return;
        if (m_send.ends_command()) --left;
        if (last) left = m_parts > 1 ? std::min(left, m_totals.certain()) : 0;
        int64_t waiting = m_words.size();
        if (left <= m_design.words_waiting || waiting < m_design.word || m_ask.over()) return;
        // The first words are there as they are wanted; one is asked for in each cycle, from the
        // one on in which there is room.
        for (int64_t i = 0; i < waiting; ++i)
            if (m_words.at(i) + m_design.word > now + 1 + i) return;
        m_run_from = now + 1 + (waiting == m_design.words_waiting);
        m_run_end = now + 1 + left;
        m_run_count = m_run_end - m_run_from;
        m_run_left = m_ask.tokens() - m_ask.token();
        m_run_address = m_ask.address();
        m_ask.advance(std::min(m_run_count, m_run_left));
        if (m_run_count >= m_run_left) {
            m_run_next = m_ask.address();
            if (m_ask.over()) m_run_count = m_run_left;
            m_ask.advance(m_run_count - m_run_left);
        }
        m_words.replay(m_run_from, m_run_count, left, m_run_end - 1);
        bool ends = m_send.token() + left == m_send.tokens();
        for (int64_t i = 0; last && i < left; ++i)
            m_totals.push(now + 1 + i + m_design.array + m_design.accumulators,
                          {i == left - 1 && ends && m_send.retires()});
        m_send.advance(left);
        m_row[BUSY] += left;
        m_moved = m_run_end - 1;
    }

    template <class Machine>
    void finish(Machine& machine, Cycle now) {
        m_busy = false;
        busy += m_row[BUSY];
        stall += now - m_begun - m_row[BUSY];
        for (int i = 0; i < 3; ++i) waits[i] += m_row[WAITS_WEIGHTS + i];
        m_states.insert(m_states.end(), std::begin(m_row), std::end(m_row));
        std::fill(std::begin(m_row), std::end(m_row), 0);
        machine.sequencer.finish(machine, isa::UNIT_GEMM, now);
    }

    template <class Machine>
    Cycle next(Machine& machine, Cycle now) const {
        Cycle at = NEVER;
        if (!m_taken.empty()) at = std::max(now + 1, m_taken.available());
        if (!m_outputs.empty()) at = std::min(at, std::max(now + 1, m_outputs.offered()));
        if (!m_outputs.stands(now + 1) && m_parts > 1)
            at = std::min(at, std::max(now + 1, m_totals.available()));
        if (uncertain()) return now + 1;
        if (now + 1 < m_run_end) return std::min(at, m_run_end);
        if (!m_busy) return std::min(at, machine.sequencer.next(isa::UNIT_GEMM, now));
        bool waits = m_send.first() && m_tile_from == NEVER &&
                     (m_ask.over() || !m_words.writable(now + 1));
        return waits ? at : now + 1;
    }

    const Design& m_design;
    // The GEMM unit.
    bool m_busy = false;
    Walk m_ask, m_send;
    Queue<Nothing> m_words;
    Cycle m_moved = 0, m_begun = 0, m_asked = PAST;
    int64_t m_asked_address = 0;
    Cycle m_run_from = NEVER, m_run_end = PAST;
    int64_t m_run_count = 0, m_run_left = 0, m_run_address = 0, m_run_next = 0;
    // The array: columns of the next tile, and since when it is whole.
    int64_t m_loaded = 0;
    Cycle m_swapped = PAST, m_tile_from = NEVER, m_stalled = 0;
    Ring<Vector> m_flight;
    int64_t m_ending = 0;  // of those in flight, that end sums
    // Behind it.
    Pipe<Total> m_sums;
    BufferedQueue<Total> m_totals;
    Pipe<Total> m_outputs;
    Queue<Nothing> m_taken;
    int64_t m_parts, m_part = 0;
    std::vector<int64_t> m_states;
    int64_t m_row[STATES] = {};
};

}  // namespace cycles

// Matrix products: the GEMM unit, the array, accumulators, totals that wait, and the requantizer
// (hw/gemm_unit.py, hw/systolic_array.py, hw/gemm.py and what they use).
//
// Vectors that nothing can stop go in one step, as many as that is certain for; only their totals
// are followed one by one.

#pragma once

#include "vectors.h"

namespace cycles {

class Product {
  public:
    explicit Product(const Design& design)
        : m_design(design), m_words(design.words_waiting, design.word),
          m_totals(design.totals_waiting),
          m_outputs(design.outputs_waiting, design.requantizer), m_parts(design.cols / design.lanes) {}

    // The bank of the code buffer that is asked for in this cycle, or -1.
    int asks(Cycle now) const {
        int64_t address = asked(now - m_design.address);
        return address < 0 ? -1 : address % isa::CODE_BANKS;
    }

    // Whether the shadow bank takes a column, and from when on.
    bool takes_column(Cycle now) const { return column_from() <= now; }
    Cycle column_from() const {
        return m_loaded == m_design.cols ? NEVER : m_swapped + m_design.rows + m_loaded;
    }
    template <class Machine>
    void load(Machine& machine, Cycle now) {
        if (++m_loaded < m_design.cols) return;
        m_tile_from = now + 2;
        machine.poke(PRODUCT, now + 2);
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        give(machine, now);
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
    // The address that was given to the code buffer in that cycle, this one or the one before, or
    // -1.
    int64_t asked(Cycle at) const {
        if (m_asked[at & 1] == at) return m_asked_address[at & 1];
        int64_t ahead = at - m_run_from;
        if (ahead < 0 || ahead >= m_run_count) return -1;
        int64_t beyond = ahead - m_run_left;
        return beyond < 0 ? m_run_address + ahead : m_run_next + beyond;
    }
    void note(Cycle at, int64_t address) {
        m_asked[at & 1] = at;
        m_asked_address[at & 1] = address;
    }

    enum State { IDLE, BUSY, WAITS_WEIGHTS, WAITS_ACTIVATIONS, WAITS_OUTPUT, STATES };
    struct Total {
        bool retires = false;
    };

    // Outputs to the store, totals to the requantizer.
    template <class Machine>
    void give(Machine& machine, Cycle now) {
        bool room = m_outputs.writable(now);
        if (m_outputs.available() <= now && machine.store.ready(machine, now)) {
            machine.store.accept(machine, now);
            if (m_outputs.front().retires) machine.weights.retire(machine, now);
            m_outputs.pop(now);
        }
        if (!room || m_totals.available() > now) return;
        bool last = ++m_part == m_parts;
        m_outputs.push(now, {last && m_totals.front().retires});
        if (!last) return;
        m_part = 0;
        m_totals.pop(now);
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
            note(now, m_ask.address());
            m_ask.advance();
        }
        if (m_busy && m_moved == now) run(now);
    }

    template <class Machine>
    void send(Machine& machine, Cycle now) {
        bool first = m_send.first();
        bool last = m_send.last_pass();
        if ((last && !m_totals.room(now)) || (first && m_tile_from > now)) return;
        Cycle offered = std::max(m_words.available(), m_moved + 1);
        m_row[WAITS_ACTIVATIONS] += offered - m_moved - 1;
        Cycle weights = first ? std::clamp(m_tile_from, offered, now) - offered : 0;
        m_row[WAITS_WEIGHTS] += weights;
        m_row[WAITS_OUTPUT] += now - offered - weights;
        ++m_row[BUSY];
        m_moved = now;
        m_words.pop(now);
        if (first) {
            m_swapped = now;
            m_loaded = 0;
            m_tile_from = NEVER;
            machine.poke(WEIGHTS, now);
        }
        bool ends = m_send.token() == m_send.tokens() - 1;
        if (last) m_totals.push(now + m_design.totals, {ends && m_send.retires()});
        bool final = ends && m_send.ends_command();
        m_send.advance();
        if (final) finish(machine, now);
    }

    // As many vectors as are sure to go, one in each cycle from the next on.
    void run(Cycle now) {
        int64_t left = m_send.tokens() - m_send.token();
        bool last = m_send.last_pass();
        if (m_send.token() == 0 || m_send.tokens() < m_design.words_waiting) return;
        if (m_send.ends_command()) --left;
        if (last) left = std::min(left, m_totals.credits());
        int64_t waiting = m_words.size();
        if (left <= m_design.words_waiting || waiting < m_design.word || m_ask.over()) return;
        // The first words are there as they are wanted; one is asked for in each cycle, from the
        // one on in which there is room.
        for (int64_t i = 0; i < waiting; ++i)
            if (m_words.at(i) + m_design.word > now + 1 + i) return;
        if (int64_t before = asked(now - 1); before >= 0) note(now - 1, before);
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
            m_totals.push(now + 1 + i + m_design.totals,
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
        if (!m_outputs.empty()) at = std::max(now + 1, m_outputs.available());
        if (m_outputs.writable(now + 1))
            at = std::min(at, std::max(now + 1, m_totals.available()));
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
    Cycle m_moved = 0, m_begun = 0, m_asked[2] = {PAST, PAST};
    int64_t m_asked_address[2] = {};
    Cycle m_run_from = NEVER, m_run_end = PAST;
    int64_t m_run_count = 0, m_run_left = 0, m_run_address = 0, m_run_next = 0;
    // The array: columns of the next tile, and since when it is whole.
    int64_t m_loaded = 0;
    Cycle m_swapped = PAST, m_tile_from = NEVER;
    // Behind it.
    BufferedQueue<Total> m_totals;
    Queue<Total> m_outputs;
    int64_t m_parts, m_part = 0;
    std::vector<int64_t> m_states;
    int64_t m_row[STATES] = {};
};

}  // namespace cycles

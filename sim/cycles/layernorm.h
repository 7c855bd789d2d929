// LayerNorm: parameters in, rows of the residual buffer through the statistics and the root, codes
// out (hw/layernorm_unit.py, hw/layernorm.py, hw/layernorm_statistics.py, hw/reciprocal_root.py).

#pragma once

#include "sequencer.h"

namespace cycles {

class LayerNorm {
  public:
    explicit LayerNorm(const Design& design)
        : m_design(design), m_gearbox(design.bus_bytes, isa::NORM_CHANNEL_BYTES * design.lanes),
          m_words(design.words_waiting, design.word - design.address), m_row_words(design.norm_room), m_head(1, 1),
          m_statistics(design.norm_rows_waiting, design.norm_statistics), m_numbers(2, 1),
          m_codes(design.norm_waiting, design.norm_codes) {}

    // Whether a word of the code buffer is offered for writing in this cycle, asked after `tick`.
    bool writes(Cycle now) const { return m_offered == now; }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        bool blocked = false, left = false, done = false, moved = false, waits = false;
        if (m_codes.available() <= now) {
            m_offered = now;
            blocked = machine.store.writes(now);
            left = !blocked;
        }
        if (left) done = leave(now);
        normalize(now);
        bool ready = m_row_words.writable(now) && m_statistics.writable(now);
        bool word = m_words.available() <= now;
        bool asking = m_asking_from <= now && m_rows_asked < m_rows;
        waits = blocked || (asking && ready && !word);
        moved = left || (word && ready);
        if (word && ready) enter(now);
        if (asking) ask(now);
        read(machine, now);
        if (m_loading_from <= now) load(machine, now, waits, moved);
        if (m_busy) stall += waits && !moved;
        if (!m_busy && machine.sequencer.offers(isa::UNIT_LAYERNORM) <= now) begin(machine, now);
        if (done) finish(machine, now);
        machine.poke(LAYERNORM,
                     m_busy ? now + 1
                            : machine.sequencer.next(isa::UNIT_LAYERNORM, now));
    }

    int64_t busy = 0, stall = 0;

  private:
    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_LAYERNORM, now);
        m_busy = true;
        m_begun = now;
        m_rows = m_rows_left = command[isa::LAYERNORM_ROWS];
        int64_t channels = command[isa::LAYERNORM_CHANNELS];
        m_beats = (channels + m_design.lanes - 1) / m_design.lanes;
        m_rows_asked = m_asked = m_entered = m_popped = 0;
        bool keep = command[isa::LAYERNORM_KEEP];
        m_records = keep ? 0 : m_beats;
        m_loading_from = keep ? NEVER : now + 1;
        m_asking_from = keep ? now + 2 : NEVER;
    }

    template <class Machine>
    void finish(Machine& machine, Cycle now) {
        m_busy = false;
        busy += now - m_begun;
        machine.sequencer.finish(machine, isa::UNIT_LAYERNORM, now);
    }

    template <class Machine>
    void load(Machine& machine, Cycle now, bool& waits, bool& moved) {
        bool pop = m_gearbox.full();
        // All beats are in when the last record is whole.
        bool wanted = m_gearbox.ready(true) && !(pop && m_records == 1);
        bool push = wanted && machine.fetch.available(machine, now, isa::TO_LAYERNORM) <= now;
        waits |= wanted && !push;
        moved |= push;
        if (push) machine.fetch.take(machine, now);
        m_gearbox.move(push, pop);
        if (!pop || --m_records) return;
        m_gearbox.clear();
        m_loading_from = NEVER;
        m_asking_from = now + 1;
    }

    void ask(Cycle now) {
        if (m_addresses.size() + m_words.level(now) >= m_design.words_waiting) return;
        m_addresses.push(now);
        if (++m_asked < m_beats) return;
        m_asked = 0;
        ++m_rows_asked;
    }

    // The first of the addresses that wait has its turn where the store does not ask.
    template <class Machine>
    void read(Machine& machine, Cycle now) {
        if (m_addresses.empty() || m_addresses.front() + m_design.address > now) return;
        if (machine.store.asks(now)) return;
        m_addresses.pop();
        m_words.push(now);
    }

    // A word enters its row, and the row's last one the statistics' way to the root.
    void enter(Cycle now) {
        m_words.pop(now);
        m_row_words.push(now);
        if (++m_entered < m_beats) return;
        m_entered = 0;
        m_statistics.push(now);
    }

    void normalize(Cycle now) {
        bool moves = m_codes.writable(now);
        bool head = m_head.available() <= now && m_numbers.available() <= now;
        bool takes = m_numbers.writable(now);
        if (head && moves) {
            bool last = ++m_popped == m_beats;
            m_codes.push(now, last);
            m_head.pop(now);
            if (last) {
                m_popped = 0;
                m_numbers.pop(now);
            }
        }
        if (m_head.empty() && m_row_words.available() <= now) {
            m_head.push(now);
            m_row_words.pop(now);
        }
        // A row's numbers stay until its last word has left; root and quotient work ahead.
        bool quotient_there = m_quotient_until <= now, quotient_leaves = quotient_there && takes;
        if (quotient_leaves) m_numbers.push(now);
        bool divided = m_quotient_until < NEVER;
        if (quotient_leaves) m_quotient_until = NEVER;
        bool hands_over = m_root_until <= now && (!divided || quotient_leaves);
        bool root_free = m_root_until == NEVER || hands_over;
        if (hands_over) {
            m_quotient_until = now + 1 + m_design.quotient_steps;
            m_root_until = NEVER;
        }
        if (m_statistics.available() <= now && root_free) {
            m_statistics.pop(now);
            m_root_until = now + 1 + m_design.root_steps;
        }
    }

    // A chunk has been written; returns whether it was the command's last.
    bool leave(Cycle now) {
        bool row_end = m_codes.front();
        m_codes.pop(now);
        return row_end && --m_rows_left == 0;
    }

    const Design& m_design;
    bool m_busy = false;
    Cycle m_begun = PAST, m_offered = PAST;
    Gearbox m_gearbox;
    Cycle m_loading_from = NEVER, m_asking_from = NEVER;
    int64_t m_records = 0, m_rows = 0, m_rows_left = 0, m_beats = 0;
    int64_t m_rows_asked = 0, m_asked = 0, m_entered = 0, m_popped = 0;
    Ring<Cycle> m_addresses;  // when they came
    Queue<Nothing> m_words;
    BufferedQueue<Nothing> m_row_words;
    Queue<Nothing> m_head;       // the word that leaves next
    Queue<Nothing> m_statistics;  // the last words of rows
    Queue<Nothing> m_numbers;     // of rows whose root and quotient are found
    Cycle m_root_until = NEVER, m_quotient_until = NEVER;
    Queue<char> m_codes;  // those that are found and those that wait
};

}  // namespace cycles

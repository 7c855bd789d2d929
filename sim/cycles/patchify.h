// The patchify unit: bytes of an image to words of digits (hw/patchify_unit.py).

#pragma once

#include "sequencer.h"

namespace cycles {

class Patchify {
  public:
    explicit Patchify(const Design& design)
        : reader(design, PATCHIFY_READS), m_design(design),
          m_chunk(std::min(design.bus_bytes, design.rows)),
          m_parts((design.rows + m_chunk - 1) / m_chunk), m_words(2, 1) {}

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        bool ends = m_ends == now;
        bool ordered = m_order_from <= now;
        drop_or_fill(machine, now);
        if (reader.tick(machine, now, ordered ? &m_run : nullptr)) m_order_from = NEVER;
        if (!m_busy && machine.sequencer.offers(isa::UNIT_PATCHIFY) <= now) begin(machine, now);
        if (ends) {
            m_busy = false;
            machine.sequencer.finish(machine, isa::UNIT_PATCHIFY, now);
        }
        // A beat of the image moves up even when no command is there.
        Cycle next = m_busy ? now + 1 : machine.sequencer.offers(isa::UNIT_PATCHIFY);
        if (!m_first) next = std::min(next, reader.available(machine.bus, now + 1));
        machine.poke(PATCHIFY, std::max(now + 1, next));
    }

    Reader reader;

  private:
    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_PATCHIFY, now);
        m_busy = true;
        m_filling_from = now + 1;
        m_digits = command[isa::PATCHIFY_DIGITS];
        m_run_bytes = m_rest = command[isa::PATCHIFY_RUN];
        m_runs_left = command[isa::PATCHIFY_HEIGHT] * command[isa::PATCHIFY_ACROSS] *
                      command[isa::PATCHIFY_DOWN];
        int64_t beats = command[isa::PATCHIFY_BEATS];
        if (beats == 0) return;
        m_run = {command[isa::PATCHIFY_OFFSET], beats, ++m_image};
        m_order_from = now + 1;
        m_first = false;
        m_place = 0;
    }

    template <class Machine>
    void drop_or_fill(Machine& machine, Cycle now) {
        bool offered = reader.available(machine.bus, now) <= now;
        bool stale = offered && reader.run() != m_image;
        bool second = offered && !stale;
        // Digits of a word, in the queue of those that are written.
        bool filled = m_filled, filling = m_filling_from <= now;
        bool digit = m_digits_left > 0 && m_words.writable(now), last = m_digits_left == 1;
        bool emptied = filled && (m_digits_left == 0 || (digit && last));
        if (m_words.available() <= now && !machine.store.writes(now) &&
            !machine.layernorm.writes(now) && !machine.attention.writes(now)) {
            if (m_words.front()) m_ends = now + 1;
            m_words.pop(now);
        }
        if (digit) m_words.push(now, last && !filled && !filling);
        // Bytes of the word that is filled.
        int64_t room = m_part == m_parts - 1 ? m_design.rows - (m_parts - 1) * m_chunk : m_chunk;
        bool ends_run = m_rest <= room, ends_word = ends_run || m_part == m_parts - 1;
        int64_t take = ends_run ? m_rest : room, end = m_place + take;
        bool moves = filling && m_first && (end <= m_design.bus_bytes || second) &&
                     (!filled || emptied);
        bool leaves = !m_first || (moves && end >= m_design.bus_bytes);
        if (offered && (leaves || stale)) reader.pop(machine, now);
        if (leaves) m_first = second;
        if (emptied)
            m_digits_left = m_digits;
        else if (digit)
            --m_digits_left;
        if (emptied) m_filled = false;
        if (!moves) return;
        m_place = end % m_design.bus_bytes;
        m_filled = ends_word;
        m_part = ends_word ? 0 : m_part + 1;
        m_rest = ends_run ? m_run_bytes : m_rest - take;
        if (ends_run && --m_runs_left == 0) m_filling_from = NEVER;
    }

    const Design& m_design;
    int64_t m_chunk, m_parts;
    bool m_busy = false, m_first = false, m_filled = false;
    Reader::Run m_run{};
    Cycle m_order_from = NEVER, m_filling_from = NEVER, m_ends = NEVER;
    int64_t m_image = 0, m_place = 0, m_part = 0, m_rest = 0, m_run_bytes = 0, m_runs_left = 0;
    int64_t m_digits = 0, m_digits_left = 0;
    Queue<char> m_words;  // whether the word is the command's last
};

}  // namespace cycles

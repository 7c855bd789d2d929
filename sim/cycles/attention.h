// Attention: log codes of two query tiles, values from the code buffer, buckets and their drain
// (hw/attention_unit.py, hw/log_code_buffer.py, hw/attention_buckets.py, hw/attention_drain.py).

#pragma once

#include "product.h"

namespace cycles {

class Attention {
  public:
    explicit Attention(const Design& design)
        : m_design(design), m_values(design.words_waiting, design.word - design.address), m_key(design.log_codes),
          m_words(design.bucket_word), m_rows(design.rows_waiting, design.row) {}

    // The log codes' two halves: whether a key's codes are taken in this cycle.
    bool takes_codes(Cycle now) const { return m_half_empty[m_filling] <= now; }
    template <class Machine>
    void put_codes(Machine& machine, Cycle now, bool last) {
        if (!last) return;
        m_half_full[m_filling] = now + 1;
        m_half_empty[m_filling] = NEVER;
        m_filling ^= 1;
        machine.poke(ATTENTION, now + 1);
    }

    // The bank of the code buffer that is asked for in this cycle, or -1; and whether a word of it
    // is offered for writing. Asked after `tick`.
    int asks(Cycle now) const { return m_asked == now ? m_asked_bank : -1; }
    bool writes(Cycle now) const { return m_offered == now; }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        // From the end of the pipeline to its begin.
        bool blocked = m_rows.available() <= now;
        bool left = blocked && give_row(machine, now), done = false;
        blocked &= !left;
        if (left) done = row_left(now);
        drain(now);
        bool keys_left = tile_valid(now) || !m_key.empty();
        bool ready = takes_key(now), sent = false;
        if (m_key.offered() <= now && m_values.available() <= now && ready) {
            sent = true;
            send(now);
        }
        if (m_busy) stall += (blocked || (keys_left && ready && !sent)) && !sent && !left;
        give_key(now);
        ask(now);
        read(machine, now);
        if (!m_busy && machine.sequencer.offers(isa::UNIT_ATTENTION) <= now) begin(machine, now);
        if (done) finish(machine, now);
        Cycle next = m_busy ? now + 1 : machine.sequencer.next(isa::UNIT_ATTENTION, now);
        machine.poke(ATTENTION, next);
    }

    int64_t busy = 0, stall = 0;

  private:
    struct Key {
        bool last = false;  // of its tile's pass
        int64_t rows = 0;   // queries of the tile
    };
    struct Row {
        bool tile_end = false;
    };
    struct Bank {
        Cycle full_from = NEVER, empty_from = 0;
        int64_t rows = 0;
    };

    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_ATTENTION, now);
        m_busy = true;
        m_begun = now;
        m_keys = command[isa::ATTENTION_KEYS];
        m_tiles = command[isa::ATTENTION_TILES];
        m_base = command[isa::ATTENTION_BASE];
        m_stride = command[isa::ATTENTION_STRIDE];
        m_queries = m_queries_asked = command[isa::ATTENTION_QUERIES];
        m_pass = m_key_given = 0;
        m_tile_asked = m_key_asked = 0;
        m_tiles_left = m_tiles * ((m_queries + m_design.cols - 1) / m_design.cols);
    }

    template <class Machine>
    void finish(Machine& machine, Cycle now) {
        m_busy = false;
        busy += now - m_begun;
        machine.sequencer.finish(machine, isa::UNIT_ATTENTION, now);
    }

    // Addresses of values: all keys of a tile of channels, all tiles, for each tile of queries.
    void ask(Cycle now) {
        if (!m_busy || m_begun >= now || m_queries_asked <= 0) return;
        if (m_addresses.size() + m_values.level(now) >= m_design.words_waiting) return;
        m_addresses.push({now, m_base + m_tile_asked * m_stride + m_key_asked});
        if (++m_key_asked < m_keys) return;
        m_key_asked = 0;
        if (++m_tile_asked < m_tiles) return;
        m_tile_asked = 0;
        m_queries_asked -= m_design.cols;
    }

    // The first of the addresses that wait has its turn where the product does not ask.
    template <class Machine>
    void read(Machine& machine, Cycle now) {
        if (m_addresses.empty() || m_addresses.front().at + m_design.address > now) return;
        m_asked = now;
        m_asked_bank = m_addresses.front().address % isa::CODE_BANKS;
        if (machine.product.asks(now) == m_asked_bank) return;
        m_addresses.pop();
        m_values.push(now);
    }

    // A tile of queries is wanted and not all given.
    bool tile_valid(Cycle now) const { return m_busy && m_begun < now && m_queries > 0; }

    // The codes of the next key to the registers before the buckets.
    void give_key(Cycle now) {
        if (m_key.stands(now) || !tile_valid(now) || m_half_full[m_giving] > now) return;
        bool last = m_key_given == m_keys - 1;
        m_key.push(now, {last, std::min(m_queries, m_design.cols)});
        if (!last) {
            ++m_key_given;
            return;
        }
        m_key_given = 0;
        if (++m_pass < m_tiles) return;
        m_pass = 0;
        m_half_full[m_giving] = NEVER;
        m_half_empty[m_giving] = now + 1;
        m_giving ^= 1;
        m_queries -= m_design.cols;
    }

    // The buckets are swept once after the reset.
    bool takes_key(Cycle now) const {
        return now >= m_design.reset_end + m_design.zero && m_banks[m_adding].empty_from <= now;
    }

    void send(Cycle now) {
        Key key = m_key.front();
        m_key.take(now);
        m_values.pop(now);
        if (!key.last) return;
        m_banks[m_adding].full_from = now + 1;
        m_banks[m_adding].empty_from = NEVER;
        m_banks[m_adding].rows = key.rows;
        m_adding ^= 1;
    }

    // Words of buckets to the drain, code by code: the last word of a group of rows may wait.
    void drain(Cycle now) {
        bool takes = m_words.offered() <= now && drain_takes(now);
        step(now);
        if (takes) {
            m_steps_from = now + 1 + m_design.drain_results;
            m_columns_left = m_design.drain_groups;
            m_steps = m_words.front().rows * m_columns_left;
            m_steps_end_tile = m_words.front().last;
            m_words.take(now);
        }
        if (m_words.stands(now)) return;
        // The stages move in this cycle.
        if (m_release_in && --m_release_in == 0) m_banks[m_released].empty_from = now + 1;
        Bank& bank = m_banks[m_draining];
        if (bank.full_from > now) return;
        if (++m_code < m_design.zero) return;
        m_code = 0;
        int64_t rows = std::min(m_design.drains, bank.rows - m_group_rows);
        m_group_rows += rows;
        bool last = m_group_rows == bank.rows;
        m_words.push(now, {rows, last});
        if (!last) return;
        m_group_rows = 0;
        m_released = m_draining;
        m_release_in = 1;
        bank.full_from = NEVER;
        m_draining ^= 1;
    }

    // The drain takes the last word of a group when it has passed the columns of the one before on.
    bool drain_takes(Cycle now) const {
        return m_steps == 0 || m_steps_from > now ||
               (m_steps == 1 && steps(now));
    }

    // The columns of a row, group by group, to the pipeline behind.
    void step(Cycle now) {
        if (m_steps == 0 || m_steps_from > now || !steps(now)) return;
        if (m_columns_left == m_design.drain_groups)
            m_rows.push(now, {m_steps_end_tile && m_steps == m_columns_left});
        --m_steps;
        if (--m_columns_left == 0) m_columns_left = m_design.drain_groups;
    }

    // A row that begins has a place when it comes out.
    bool steps(Cycle now) const {
        return m_columns_left < m_design.drain_groups || m_rows.writable(now);
    }

    template <class Machine>
    bool give_row(Machine& machine, Cycle now) {
        m_offered = now;
        return !machine.store.writes(now) && !machine.layernorm.writes(now);
    }

    // A row has been written; returns whether it was the last of the command.
    bool row_left(Cycle now) {
        bool tile_end = m_rows.front().tile_end;
        m_rows.pop(now);
        return tile_end && --m_tiles_left == 0;
    }

    const Design& m_design;
    bool m_busy = false;
    Cycle m_begun = PAST;
    int64_t m_keys = 0, m_tiles = 0, m_base = 0, m_stride = 0, m_queries = 0, m_queries_asked = 0;
    int64_t m_tiles_left = 0;
    // Log codes.
    Cycle m_half_full[2] = {NEVER, NEVER}, m_half_empty[2] = {PAST, PAST};
    int m_filling = 0, m_giving = 0;
    int64_t m_pass = 0, m_key_given = 0;
    // Values.
    Ring<Asked> m_addresses;
    Queue<Nothing> m_values;
    int64_t m_tile_asked = 0, m_key_asked = 0;
    Cycle m_asked = PAST, m_offered = PAST;
    int m_asked_bank = 0;
    // Buckets.
    Pipe<Key> m_key;
    Bank m_banks[2];
    int m_adding = 0, m_draining = 0, m_released = 0, m_release_in = 0;
    int64_t m_code = 0, m_group_rows = 0;
    struct Group {
        int64_t rows = 0;
        bool last = false;
    };
    Pipe<Group> m_words;
    // Drain.
    Cycle m_steps_from = PAST;
    int64_t m_steps = 0, m_columns_left = 0;
    bool m_steps_end_tile = false;
    Queue<Row> m_rows;
};

}  // namespace cycles

// The weight unit: parameters to the requantizer's banks, columns to the array
// (hw/weight_unit.py, hw/parameter_banks.py, hw/column_reader.py).

#pragma once

#include "product.h"

namespace cycles {

class Weights {
  public:
    explicit Weights(const Design& design)
        : m_design(design), m_records(design.bus_bytes, isa::CHANNEL_BYTES),
          m_columns(design.bus_bytes, design.column_bytes),
          m_owed(design.words_waiting),
          m_words(design.words_waiting, design.word - design.address) {}

    // The last output that needs the older set of parameters leaves in this cycle.
    template <class Machine>
    void retire(Machine& machine, Cycle now) {
        m_retired.push(now);
        machine.poke(WEIGHTS, now + 1);
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        while (!m_retired.empty() && m_retired.front() < now) {
            m_retired.pop();
            --m_sets;
        }
        bool done = false;
        if (m_busy && m_begun < now) {
            // Columns first: they are what the feed makes room for.
            if (m_draining && m_owed.level(now) == 0) done = true;
            bool array = machine.product.takes_column(now);
            read_columns(machine, now, array);
            bool waits = !m_addresses.empty();
            if (m_loading_from <= now)
                load(machine, now);
            else if (m_bringing_from <= now)
                bring(machine, now, array, done);
            if (waits) read(machine, now);
        } else if (!m_busy && machine.sequencer.offers(isa::UNIT_WEIGHTS) <= now) {
            begin(machine, now);
        }
        if (done) {
            m_busy = m_draining = false;
            machine.sequencer.finish(machine, isa::UNIT_WEIGHTS, now);
        }
        machine.poke(WEIGHTS, next(machine, now));
    }

  private:
    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_WEIGHTS, now);
        m_busy = true;
        m_begun = now;
        m_buffer = command[isa::WEIGHTS_BUFFER];
        m_shared = command[isa::WEIGHTS_SHARED];
        m_groups_left = command[isa::WEIGHTS_GROUPS];
        m_tiles = m_tiles_left = command[isa::WEIGHTS_TILES];
        m_group_base = m_tile_base = command[isa::WEIGHTS_BASE];
        m_stride = command[isa::WEIGHTS_STRIDE];
        m_channels = command[isa::WEIGHTS_CHANNELS];
        m_column = m_design.cols - 1;
        start_load(now);
    }

    void start_load(Cycle now) {
        m_loading_from = now + 1;
        m_beats_left = m_design.section_beats;
        m_records_left = m_design.section_records;
    }

    // Parameters: the first record waits until one of two sets is free.
    template <class Machine>
    void load(Machine& machine, Cycle now) {
        bool output = m_sets < 2, pop = m_records.full() && output;
        bool push = m_beats_left > 0 && m_records.ready(output) && stream(machine, now) <= now;
        if (push) {
            machine.fetch.take(machine, now);
            --m_beats_left;
        }
        m_records.move(push, pop);
        if (!pop || --m_records_left) return;
        ++m_sets;
        m_loading_from = NEVER;
        start_bring(now);
    }

    void start_bring(Cycle now) {
        m_bringing_from = now + 1;
        // Counted tile by tile: beats from the cycle on in which a tile's are known.
        m_feed_tiles = m_buffer ? 0 : m_tiles;
        m_beats_left = 0;
        m_spare = 0;
    }

    template <class Machine>
    void bring(Machine& machine, Cycle now, bool array, bool& done) {
        bool moved;
        if (m_buffer) {
            moved = ask_column(now);
        } else {
            bool pop = m_columns.full() && array;
            bool push = m_beats_left > 0 && m_columns.ready(array) && stream(machine, now) <= now;
            bool next_tile = m_feed_tiles && (m_beats_left == 0 || (push && m_beats_left == 1));
            if (push) {
                machine.fetch.take(machine, now);
                --m_beats_left;
            }
            if (next_tile) feed_tile();
            m_columns.move(push, pop);
            if (pop) machine.product.load(machine, now);
            moved = pop;
        }
        if (!moved || m_column-- > 0) return;
        m_column = m_design.cols - 1;
        m_tile_base += m_stride;
        if (--m_tiles_left) return;
        m_tiles_left = m_tiles;
        m_group_base += m_design.cols;
        m_tile_base = m_group_base;
        m_channels = std::max<int64_t>(0, m_channels - m_design.cols);
        m_columns.clear();
        m_bringing_from = NEVER;
        if (--m_groups_left == 0) {
            if (m_buffer)
                m_draining = true;
            else
                done = true;
        } else if (m_shared) {
            start_bring(now);
        } else {
            start_load(now);
        }
    }

    // The beats of the next tile, less those that the tile before has left over.
    void feed_tile() {
        int64_t bytes = m_design.cols * m_design.column_bytes;
        int64_t whole = bytes / m_design.bus_bytes, part = bytes % m_design.bus_bytes;
        bool lacks = m_spare < part;
        --m_feed_tiles;
        m_beats_left = whole + lacks;
        m_spare += (lacks ? m_design.bus_bytes : 0) - part;
    }

    // A column of the code buffer, or zeros; returns whether it is asked for.
    bool ask_column(Cycle now) {
        if (!m_owed.writable(now)) return false;
        bool skip = m_column >= m_channels;
        if (!skip) {
            if (m_addresses.size() + m_words.level(now) >= m_design.words_waiting) return false;
            m_addresses.push({now, m_tile_base + m_column});
        }
        m_owed.push(now, skip);
        return true;
    }

    // The first of the addresses that wait has its turn where nobody before asks for its bank.
    template <class Machine>
    void read(Machine& machine, Cycle now) {
        int bank = m_addresses.front().address % isa::CODE_BANKS;
        if (machine.product.asks(now) == bank || machine.attention.asks(now) == bank) return;
        m_addresses.pop();
        m_words.push(now);
    }

    // Columns that were asked for to the array.
    template <class Machine>
    void read_columns(Machine& machine, Cycle now, bool array) {
        if (m_owed.available() > now || !array) return;
        if (!m_owed.front()) {
            if (m_words.available() > now) return;
            m_words.pop(now);
        }
        m_owed.pop(now);
        machine.product.load(machine, now);
    }

    template <class Machine>
    Cycle stream(Machine& machine, Cycle now) const {
        return machine.fetch.available(machine, now, isa::TO_WEIGHTS);
    }

    template <class Machine>
    Cycle next(Machine& machine, Cycle now) const {
        if (!m_busy) return machine.sequencer.next(isa::UNIT_WEIGHTS, now);
        Cycle at = NEVER, array = std::max(now + 1, machine.product.column_from());
        if (m_loading_from < NEVER) {
            if (m_records.full()) return m_sets < 2 || !m_retired.empty() ? now + 1 : NEVER;
            return std::max({now + 1, m_loading_from, stream(machine, now)});
        }
        if (!m_addresses.empty()) return now + 1;
        if (m_buffer) {
            if (m_owed.size() == 0 || (!m_draining && m_owed.writable(now + 1))) return now + 1;
            Cycle word = m_owed.front() ? PAST : m_words.available();
            return std::max({array, m_owed.available(), word});
        }
        if (m_feed_tiles && m_beats_left == 0) return now + 1;
        if (m_columns.full()) at = array;
        if (m_beats_left > 0 && m_columns.ready(false))
            at = std::min(at, std::max(now + 1, stream(machine, now)));
        return at;
    }

    const Design& m_design;
    bool m_busy = false, m_draining = false;
    Cycle m_begun = PAST, m_loading_from = NEVER, m_bringing_from = NEVER;
    int64_t m_buffer = 0, m_shared = 0, m_groups_left = 0, m_tiles = 0, m_tiles_left = 0;
    int64_t m_group_base = 0, m_tile_base = 0, m_stride = 0, m_channels = 0, m_column = 0;
    // Sets of parameters that are loaded and not retired.
    int64_t m_sets = 0;
    Ring<Cycle> m_retired;
    Gearbox m_records, m_columns;
    int64_t m_beats_left = 0, m_records_left = 0, m_feed_tiles = 0, m_spare = 0;
    BufferedQueue<char> m_owed;
    Ring<Asked> m_addresses;
    Queue<Nothing> m_words;
};

}  // namespace cycles

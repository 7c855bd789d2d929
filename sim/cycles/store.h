// The store unit: outputs of the array to where they go, and what fills or pools the residual
// buffer (hw/store_unit.py and what it uses).
//
// Codes and residuals never wait: the unit comes first at both buffers, and nothing in its
// pipelines can stop.

#pragma once

#include "logits.h"
#include "sequencer.h"

namespace cycles {

class Store {
  public:
    Store(const Design& design, const native::Timing& timing)
        : logits(design, timing), m_design(design), m_parts(design.cols / design.lanes) {}

    // Whether an output of the array that is offered is taken in this cycle; asked once at most.
    template <class Machine>
    bool ready(Machine& machine, Cycle now) {
        if (!m_stores || m_begun >= now || m_taken) return false;
        if (m_mode == isa::MODE_SCORES) {
            if (m_part < m_parts - 1) return true;
            if (m_agreed_from > now) return false;
            bool ready = machine.softmax.ready(now);
            machine.softmax.stall += !ready;
            return ready;
        }
        return !keeps() || m_mode != isa::MODE_LOGITS || logits.ready(now);
    }

    template <class Machine>
    void accept(Machine& machine, Cycle now) {
        if (m_mode == isa::MODE_SCORES) {
            bool last = m_token == m_tokens - 1;
            if (m_part == m_parts - 1) machine.softmax.accept(machine, now, last);
        } else if (keeps()) {
            keep(now);
        }
        if (++m_part < m_parts) return;
        m_part = 0;
        if (++m_token < m_tokens) return;
        m_token = 0;
        if (++m_group < m_groups) return;
        m_taken = true;
        if (m_mode == isa::MODE_LOGITS)
            logits.end(now);
        else
            m_done = std::max(now + 1, m_mode == isa::MODE_RESIDUAL ? m_written : PAST);
        machine.poke(STORE, now + 1);
    }

    // Whether a word of the code buffer is written in this cycle.
    bool writes(Cycle now) const { return m_code_writes[now & 1] == now; }
    // Whether a word of the residual buffer is asked for in this cycle.
    bool asks(Cycle now) const {
        Cycle at = now - m_design.address;
        if (m_asked[at & 1] == at) return true;
        return m_busy && m_opcode == isa::OP_POOL && at >= m_pool_from && at < m_done &&
               (at - m_pool_from) % m_pool_chunk < m_pool_rows;
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        if (m_busy)
            work(machine, now);
        else if (machine.sequencer.offers(isa::UNIT_STORE) <= now)
            begin(machine, now);
        if (!m_busy) machine.poke(STORE, machine.sequencer.next(isa::UNIT_STORE, now));
    }

    int64_t gelu = 0, residuals = 0;
    Logits logits;

  private:
    bool keeps() const { return m_group * m_parts + m_part < m_chunks; }

    void keep(Cycle now) {
        if (m_mode == isa::MODE_RESIDUAL) {
            m_asked[now & 1] = now;
            m_written = now + m_design.residual;
            ++residuals;
        } else if (m_mode == isa::MODE_LOGITS) {
            logits.accept();
        } else {
            m_code_writes[(now + 1) & 1] = now + 1;
            gelu += m_mode == isa::MODE_GELU;
        }
    }

    template <class Machine>
    void begin(Machine& machine, Cycle now) {
        Command command = machine.sequencer.give(machine, isa::UNIT_STORE, now);
        m_busy = true;
        m_begun = now;
        m_done = NEVER;
        m_opcode = command.opcode();
        m_stores = m_opcode == isa::OP_STORE;
        if (m_stores) {
            m_mode = command[isa::STORE_MODE];
            m_tokens = command[isa::STORE_TOKENS];
            m_groups = command[isa::STORE_GROUPS];
            m_chunks = command[isa::STORE_CHUNKS];
            m_part = m_token = m_group = 0;
            m_taken = false;
            m_written = PAST;
            if (m_mode == isa::MODE_LOGITS)
                logits.begin(now, command[isa::STORE_OFFSET], command[isa::STORE_BYTES]);
            m_offset = command[isa::STORE_LOG2_SCALE];
            m_agreed_from = m_mode != isa::MODE_SCORES || m_offset == m_scale ? now + 1 : NEVER;
            if (m_agreed_from < NEVER && m_mode != isa::MODE_LOGITS) return;
        } else if (m_opcode == isa::OP_POOL) {
            pool(command, now);
            return machine.poke(STORE, m_done);
        } else {
            bool embeds = m_opcode == isa::OP_EMBED;
            int64_t piece = embeds ? isa::RESIDUAL_BYTES * m_design.lanes : 1;
            m_pieces = embeds ? command[isa::EMBED_WORDS] : isa::TABLE_ENTRIES;
            m_lacking = m_pieces * piece;
            m_gearbox = Gearbox(m_design.bus_bytes, piece);
            m_destination = embeds ? isa::TO_EMBED : isa::TO_GELU_TABLE;
        }
        machine.poke(STORE, now + 1);
    }

    template <class Machine>
    void work(Machine& machine, Cycle now) {
        bool done = m_done == now;
        if (m_stores && m_mode == isa::MODE_LOGITS) {
            done = logits.tick(now);
            machine.poke(STORE, now + 1);
        } else if (m_stores && m_agreed_from == NEVER) {
            // The softmax has to be empty before its constant changes.
            if (machine.softmax.idle(now)) {
                m_scale = m_offset;
                m_agreed_from = now + 1;
            } else {
                machine.poke(STORE, now + 1);
            }
        } else if (!m_stores && m_opcode != isa::OP_POOL) {
            done = fill(machine, now);
        }
        if (!done) {
            if (m_done < NEVER) machine.poke(STORE, std::max(now + 1, m_done));
            return;
        }
        m_busy = m_stores = false;
        machine.sequencer.finish(machine, isa::UNIT_STORE, now);
    }

    // Pieces of a stream; returns whether the last one is written in this cycle.
    template <class Machine>
    bool fill(Machine& machine, Cycle now) {
        bool pop = m_gearbox.full();
        bool push = m_lacking > 0 && m_gearbox.ready(true) &&
                    machine.fetch.available(machine, now, m_destination) <= now;
        if (push) {
            machine.fetch.take(machine, now);
            m_lacking -= m_design.bus_bytes;
        }
        m_gearbox.move(push, pop);
        if (pop && m_opcode == isa::OP_EMBED) ++residuals;
        if (pop && --m_pieces == 0) return true;
        if (m_gearbox.full()) {
            machine.poke(STORE, now + 1);
        } else {
            Cycle at = machine.fetch.available(machine, now, m_destination);
            machine.poke(STORE, std::max(now + 1, at));
        }
        return false;
    }

    // A word of sums after the other, and in between their multiplication bit by bit.
    void pool(const Command& command, Cycle now) {
        int64_t rows = command[isa::POOL_ROWS], chunks = command[isa::POOL_CHUNKS];
        int64_t bits = std::max<int64_t>(isa::MULTIPLIER_BITS, command[isa::POOL_SHIFT]) + 1;
        int64_t reading = rows + m_design.word;
        m_pool_chunk = reading + 2 + m_design.lanes * bits;
        m_pool_from = now + 2;
        m_pool_rows = rows;
        m_done = now + chunks * m_pool_chunk;
        residuals += chunks;
    }

    const Design& m_design;
    int64_t m_parts;
    bool m_busy = false, m_stores = false, m_taken = false;
    int64_t m_opcode = 0, m_mode = 0, m_offset = 0, m_scale = 0;
    int64_t m_tokens = 0, m_groups = 0, m_chunks = 0, m_part = 0, m_token = 0, m_group = 0;
    Cycle m_begun = PAST, m_done = NEVER, m_written = PAST, m_agreed_from = NEVER;
    Cycle m_asked[2] = {PAST, PAST};
    Cycle m_code_writes[2] = {PAST, PAST};
    Gearbox m_gearbox{1, 1};
    int64_t m_pieces = 0, m_lacking = 0, m_destination = 0;
    Cycle m_pool_from = NEVER, m_pool_chunk = 1, m_pool_rows = 0;
};

}  // namespace cycles

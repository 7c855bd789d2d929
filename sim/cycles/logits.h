// Logits to memory: packer, write mover, and the memory's side of it (hw/logit_writer.py,
// hw/write_dma.py; the memory behaves as sim/rtl/axi_memory.h). Worked off cycle by cycle.

#pragma once

#include "bus.h"

namespace cycles {

class Logits {
  public:
    Logits(const Design& design, const native::Timing& timing)
        : m_design(design), m_timing(timing), m_credit(timing.bandwidth),
          m_packer(design.lanes * isa::LOGIT_BYTES, design.bus_bytes), m_words(2, 1),
          m_sends(design.write_bursts), m_answers(design.write_bursts) {}

    void begin(Cycle now, int64_t address, int64_t bytes) {
        m_active_from = now + 1;
        m_owed = (bytes + m_design.bus_bytes - 1) / m_design.bus_bytes;
        m_run = {address, m_owed};
        m_last_bytes = bytes % m_design.bus_bytes;
        m_asked = m_answered = false;
        m_ended_from = NEVER;
    }
    bool active(Cycle now) const { return m_active_from <= now; }
    // Whether a beat of logits is taken in this cycle, asked after `tick`.
    bool ready(Cycle now) const { return m_ready == now; }
    void accept() { m_packer.move(true, false); }
    // The last beat has been taken.
    void end(Cycle now) { m_ended_from = now + 1; }

    bool busy(Cycle now) const { return m_splits || m_answers.level(now) || m_done_from <= now; }

    // Returns whether the command is done in this cycle.
    bool tick(Cycle now) {
        bool moved = m_data_valid && takes_data(now);
        stall += busy(now) && !moved;
        // Everything is decided by what was there at the begin of the cycle.
        bool requested = m_address_valid && !m_timing.held(native::AW, now);
        answer_bus(now);
        bool takes_answer = m_answers.available() <= now && !(m_done_from <= now && m_answered) &&
                            m_waiting > 0 && m_answer_offered;
        bool ended = m_ended_from <= now, answered = m_answered;
        if (m_done_from <= now && !m_answered) {
            m_answered = true;
            m_done_from = NEVER;
        }
        bool sent = send(now, ended, moved);
        ask(now, requested);
        if (moved) take_data(now);
        if (requested) ++m_bursts_there;
        write(now);
        if (takes_answer) {
            if (m_answers.front()) m_done_from = now + 1;
            m_answers.pop(now);
            m_answer_offered = false;
            m_due.pop();
        }
        m_waiting += sent - takes_answer;
        bool done = ended && answered;
        if (done) {
            m_active_from = NEVER;
            m_ready = PAST;
            m_packer.clear();
        }
        return done;
    }

    int64_t write_bursts = 0, write_beats = 0, write_bytes = 0;
    int64_t stall = 0;
    native::Windows windows;

  private:
    struct Sent {
        int64_t beats = 0;
        bool last = false;
    };

    bool takes_data(Cycle now) { return m_credit.enough(now) && !m_timing.held(native::W, now); }

    void answer_bus(Cycle now) {
        if (m_due.empty() || m_due.front() > now || m_timing.held(native::B, now)) return;
        m_answer_offered = true;
    }

    // Bytes through the packer and a queue to W; returns whether the last beat of a burst is sent.
    bool send(Cycle now, bool ended, bool moved) {
        bool free = !m_data_valid || moved;
        bool sends = m_words.available() <= now && m_sends.available() <= now && free;
        bool full = m_packer.full(), drop = m_owed == 0;
        bool active = active_(now), room = m_words.writable(now);
        bool output = room || drop, input = active && m_packer.ready(output);
        m_ready = input && !ended ? now : PAST;
        m_packer.move(input && ended, active && full && output);
        if (sends) m_words.pop(now);
        if (active && full && !drop && room) {
            m_words.push(now);
            --m_owed;
        }
        m_data_valid = (m_data_valid && !moved) || sends;
        if (!sends) return false;
        bool final = ++m_place == m_sends.front().beats;
        m_sent_bytes = m_design.bus_bytes;
        if (final) {
            if (m_sends.front().last && m_last_bytes) m_sent_bytes = m_last_bytes;
            m_place = 0;
            m_sends.pop(now);
        }
        m_data_bytes.push(m_sent_bytes);
        m_data_last.push(final);
        return final;
    }
    bool active_(Cycle now) const { return m_active_from <= now; }

    void ask(Cycle now, bool requested) {
        bool free = !m_address_valid || requested;
        if (requested) m_address_valid = false;
        bool puts = m_splits && m_sends.writable(now) && m_answers.writable(now) && free;
        bool last = false;
        if (puts) {
            int64_t beats = m_run.next(m_design);
            last = m_run.left == 0;
            m_sends.push(now, {beats, last});
            m_answers.push(now, last);
            m_address_valid = true;
            ++write_bursts;
        }
        bool requests = active_(now) && !m_asked && (!m_splits || last);
        m_splits = (m_splits && !last) || requests;
        m_asked |= requests;
    }

    void take_data(Cycle now) {
        m_credit.spend();
        ++m_data_there;
        windows.count(now);
    }

    // Beats whose address and data are both there.
    void write(Cycle now) {
        while (m_data_there && m_bursts_there) {
            --m_data_there;
            ++write_beats;
            write_bytes += m_data_bytes.front();
            bool last = m_data_last.front();
            m_data_bytes.pop();
            m_data_last.pop();
            if (!last) continue;
            Cycle extra = m_timing.extra(native::B, m_written++);
            m_due.push(now + m_timing.write_latency + extra);
            --m_bursts_there;
        }
    }

    const Design& m_design;
    const native::Timing& m_timing;
    Credit m_credit;
    Gearbox m_packer;
    Queue<Nothing> m_words;
    Cycle m_active_from = NEVER, m_ended_from = NEVER, m_done_from = NEVER, m_ready = PAST;
    Splitter m_run;
    int64_t m_owed = 0, m_last_bytes = 0, m_place = 0;
    int64_t m_waiting = 0, m_written = 0, m_bursts_there = 0, m_data_there = 0, m_sent_bytes = 0;
    bool m_asked = false, m_answered = false, m_splits = false;
    bool m_address_valid = false, m_data_valid = false, m_answer_offered = false;
    BufferedQueue<Sent> m_sends;
    BufferedQueue<char> m_answers;
    Ring<int64_t> m_data_bytes;
    Ring<char> m_data_last;
    Ring<Cycle> m_due;
};

}  // namespace cycles

// log2 softmax: keys wait while their row's constant is found, and leave as codes
// (hw/log2_softmax.py).

#pragma once

#include "bus.h"

namespace cycles {

class Softmax {
  public:
    explicit Softmax(const Design& design)
        : m_scores(design.score_places), m_head(1, 1),
          m_constants(design.constants, design.softmax_sum), m_second(design.softmax_code) {}

    // Whether a key is taken in this cycle, asked after `tick`.
    bool ready(Cycle now) const { return m_scores.room(now) && m_constants.writable(now); }
    template <class Machine>
    void accept(Machine& machine, Cycle now, bool last) {
        m_scores.push(now, last);
        if (last) m_constants.push(now);
        ++busy;
        machine.poke(SOFTMAX, now + 1);
    }
    bool idle(Cycle now) const { return m_scores.level(now) + m_head.level(now) == 0; }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        if (m_second.offered() <= now && machine.attention.takes_codes(now)) {
            bool last = m_second.front();
            m_second.take(now);
            machine.attention.put_codes(machine, now, last);
        }
        Cycle key = std::max(m_head.available(), m_constants.available());
        if (!m_second.stands(now) && key <= now) {
            bool last = m_head.front();
            m_second.push(now, last);
            m_head.pop(now);
            if (last) m_constants.pop(now);
        }
        if (m_head.empty() && m_scores.available() <= now) {
            m_head.push(now, m_scores.front());
            m_scores.pop(now);
        }
        Cycle next = NEVER;
        if (!m_second.empty()) next = std::min(next, std::max(now + 1, m_second.offered()));
        key = std::max(m_head.available(), m_constants.available());
        next = std::min(next, std::max(now + 1, key));
        if (m_head.empty()) next = std::min(next, std::max(now + 1, m_scores.available()));
        machine.poke(SOFTMAX, next);
    }

    int64_t busy = 0, stall = 0;

  private:
    BufferedQueue<char> m_scores;  // whether the key is the last of its row
    Queue<char> m_head;            // the key that leaves next
    Queue<Nothing> m_constants;    // of rows whose last key is in
    Pipe<char> m_second;
};

}  // namespace cycles

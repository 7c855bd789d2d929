// What holds beats between two parts of the machine.
//
// All parts of a cycle are asked about its begin: a beat pushed or popped in cycle t changes what
// is told from t + 1 on, so that the order in which parts are worked off within t does not matter
// here. Each queue is pushed at most once per cycle, and popped at most once.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace cycles {

using Cycle = int64_t;
constexpr Cycle NEVER = INT64_MAX / 4;
constexpr Cycle PAST = -NEVER;

// First in, first out, growing as it must.
template <class T>
class Ring {
  public:
    bool empty() const { return m_first == m_end; }
    int64_t size() const { return int64_t(m_end - m_first); }
    T& front() { return m_items[m_first & m_mask]; }
    const T& front() const { return m_items[m_first & m_mask]; }
    const T& operator[](int64_t place) const { return m_items[(m_first + place) & m_mask]; }
    const T& back() const { return m_items[(m_end - 1) & m_mask]; }
    void push(const T& item) {
        if (__builtin_expect(m_end - m_first > m_mask, false)) grow();
        m_items[m_end++ & m_mask] = item;
    }
    void pop() { ++m_first; }
    void clear() { m_first = m_end; }

  private:
    __attribute__((noinline, cold)) void grow() {
        std::vector<T> more(2 * m_items.size());
        uint64_t mask = 2 * m_mask + 1;
        for (uint64_t i = m_first; i != m_end; ++i) more[i & mask] = m_items[i & m_mask];
        m_items.swap(more);
        m_mask = mask;
    }

    std::vector<T> m_items = std::vector<T>(8);
    uint64_t m_mask = 7, m_first = 0, m_end = 0;
};

// An address that waits for its turn at a scratchpad, and when it came.
struct Asked {
    Cycle at = PAST;
    int64_t address = 0;
};

// A queue of `depth` places whose beats can be taken `latency` cycles after they came: a SyncFIFO
// (1), the skid registers of a data mover (1), a pipeline and its credit queue (2 or more).
template <class T>
class Queue {
  public:
    Queue(int64_t depth, Cycle latency) : m_depth(depth), m_latency(latency) {}

    // The cycle from which on the first beat can be taken, as far as is known.
    Cycle available() const {
        return m_items.empty() ? NEVER : std::max(m_items.front().at + m_latency, m_popped + 1);
    }
    int64_t level(Cycle now) const {
        return m_items.size() - (m_pushed == now) + (m_popped == now);
    }
    bool writable(Cycle now) const { return level(now) < m_depth; }
    bool empty() const { return m_items.empty(); }
    int64_t size() const { return m_items.size(); }
    const T& front() const { return m_items.front().beat; }
    // When the beat in that place came.
    Cycle at(int64_t place) const { return m_items[place].at; }
    void push(Cycle now, const T& beat = T{}) {
        m_items.push({now, beat});
        m_pushed = now;
    }
    void pop(Cycle now) {
        m_items.pop();
        m_popped = now;
    }
    // As if `pushes` beats had come from cycle `from` on, one in each, and `pops` of all had left,
    // the last in cycle `popped`.
    void replay(Cycle from, int64_t pushes, int64_t pops, Cycle popped) {
        int64_t skipped = pops - m_items.size();
        while (!m_items.empty()) m_items.pop();
        for (int64_t i = skipped; i < pushes; ++i) m_items.push({from + i, T{}});
        if (pushes) m_pushed = from + pushes - 1;
        m_popped = popped;
    }

  private:
    struct Item {
        Cycle at;
        T beat;
    };
    int64_t m_depth;
    Cycle m_latency;
    Ring<Item> m_items;
    Cycle m_pushed = PAST, m_popped = PAST;
};

// Amaranth's SyncFIFOBuffered: its last place is the output register of its memory. Beats may be
// pushed ahead of time, in order, when their cycle is certain.
template <class T>
class BufferedQueue {
  public:
    explicit BufferedQueue(int64_t depth) : m_depth(depth) {}

    Cycle available() const {
        if (m_items.empty()) return NEVER;
        return std::max(m_items.front().at + (m_depth > 1 ? 2 : 1), m_popped + 1);
    }
    // Beats inside, those on their way counted.
    int64_t size() const { return m_items.size(); }
    int64_t level(Cycle now) const {
        int64_t ahead = 0;
        if (!m_items.empty() && m_items.back().at >= now) ahead = m_items.back().at == now;
        return m_items.size() - ahead + (m_popped == now);
    }
    bool writable(Cycle now) const {
        if (m_depth == 1) return level(now) == 0;
        bool out = m_popped == now || available() <= now;
        return level(now) - out != m_depth - 1;
    }
    // Where beats are on their way when they are pushed: whether there is a place for one more, and
    // how many may be pushed in the next cycles, whatever is popped.
    bool room(Cycle now) const { return m_items.size() + (m_popped == now) < m_depth; }
    int64_t credits() const { return m_depth - m_items.size(); }
    const T& front() const { return m_items.front().beat; }
    void push(Cycle at, const T& beat = T{}) { m_items.push({at, beat}); }
    void pop(Cycle now) {
        m_items.pop();
        m_popped = now;
    }

  private:
    struct Item {
        Cycle at;
        T beat;
    };
    int64_t m_depth;
    Ring<Item> m_items;
    Cycle m_popped = PAST;
};

// A pipeline whose stages all stand while its output waits. Only beats that can make it stand are
// in here. Time inside is `cycle - m_stalled`: a beat is offered `latency` of those later.
template <class T>
class Pipe {
  public:
    explicit Pipe(Cycle latency) : m_latency(latency) {}

    bool empty() const { return m_items.empty(); }
    // The cycle in which the first beat is offered, if it is not taken before.
    Cycle offered() const { return m_items.empty() ? NEVER : m_items.front().mark + m_stalled; }
    // Whether the pipeline stands, asked after its output has been taken where it could be.
    bool stands(Cycle now) const { return offered() <= now; }
    const T& front() const { return m_items.front().beat; }
    void push(Cycle now, const T& beat = T{}) {
        m_items.push({now - m_stalled + m_latency, beat});
    }
    void take(Cycle now) {
        m_stalled += now - offered();
        m_items.pop();
    }

  private:
    struct Item {
        Cycle mark;
        T beat;
    };
    Cycle m_latency, m_stalled = 0;
    Ring<Item> m_items;
};

// Beats of `in` bytes to beats of `out` bytes.
class Gearbox {
  public:
    Gearbox(int64_t in, int64_t out) : m_in(in), m_out(out) {}

    bool full() const { return m_level >= m_out; }
    bool ready(bool output_ready) const {
        return !full() || (output_ready && m_level < 2 * m_out);
    }
    void move(bool push, bool pop) { m_level += (push ? m_in : 0) - (pop ? m_out : 0); }
    void clear() { m_level = 0; }

  private:
    int64_t m_in, m_out, m_level = 0;
};

}  // namespace cycles

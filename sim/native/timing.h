// When the memory behind the bus takes and answers: what the engines of C++ share.
//
// Random numbers are a function of seed, channel and count (see memory.py), so that every engine
// draws the same ones without following another's code.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rootshift {

enum Channel : unsigned { AR, R, AW, W, B, CHANNELS };
constexpr uint32_t ONE_BEAT = 1u << 16;

inline uint64_t mix(uint64_t x) {  // splitmix64's output function, Steele et al. 2014
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

inline uint32_t draw(uint64_t seed, unsigned channel, uint64_t count) {
    constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u;
    return mix(mix(seed + (channel + 1) * GAMMA) + count * GAMMA) >> 32;
}

// The layout is repeated in layout.py.
struct Timing {
    uint64_t seed;
    uint32_t read_latency, write_latency, extra_latency;
    uint32_t bandwidth;       // beats per cycle and direction, times ONE_BEAT
    uint32_t hold[CHANNELS];  // probability, times 2^32, that a channel stands for a cycle
    uint32_t burst;           // most beats that the manager may ask for at once

    // Whether a channel stands still for this cycle.
    bool held(Channel channel, uint64_t cycle) const {
        return hold[channel] && draw(seed, channel, cycle) < hold[channel];
    }
    // Cycles that a burst, by its number, waits more than the latency, before R or B. They come
    // from a stream apart from the one that holds this channel back.
    uint32_t extra(Channel channel, uint64_t number) const {
        if (!extra_latency) return 0;
        return draw(seed, CHANNELS + channel, number) % (extra_latency + 1);
    }
};

// Beats that a channel moved, per window of cycles since the start strobe.
class Windows {
  public:
    static constexpr uint64_t CYCLES = 1024;  // the same in layout.py

    void count(uint64_t cycle) {
        size_t window = cycle / CYCLES;
        if (window >= m_beats.size()) m_beats.resize(window + 1);
        ++m_beats[window];
    }
    void clear() { m_beats.clear(); }
    const uint32_t* data() const { return m_beats.data(); }
    size_t size() const { return m_beats.size(); }

  private:
    std::vector<uint32_t> m_beats;
};

}  // namespace rootshift

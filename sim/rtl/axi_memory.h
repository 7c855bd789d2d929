// A memory behind the AXI4 manager port `m_axi__*`, and the rules that the manager must keep.
//
// It looks at the settled wires once per cycle and then sets its own wires for the next one.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "glue.h"
#include "timing.h"

namespace rtl {

using rootshift::AR, rootshift::R, rootshift::AW, rootshift::W, rootshift::B, rootshift::CHANNELS;
using rootshift::Channel, rootshift::draw, rootshift::ONE_BEAT, rootshift::Timing;
using rootshift::Windows;
constexpr uint8_t OKAY = 0, DECERR = 3;

// The layouts of Fault and Traffic are repeated in library.py.
struct Fault {
    uint64_t start, end;  // bytes
    uint32_t response;
    uint32_t accesses;  // bit 0: reads, bit 1: writes
};

struct Traffic {
    uint64_t read_bursts, read_beats, read_bytes, write_bursts, write_beats, write_bytes;
};

template <class T, size_t N>
class Ring {
  public:
    bool empty() const { return m_count == 0; }
    bool full() const { return m_count == N; }
    T& front() { return m_items[m_first]; }
    void push(const T& item) { m_items[(m_first + m_count++) % N] = item; }
    void pop() {
        m_first = (m_first + 1) % N;
        --m_count;
    }

  private:
    std::array<T, N> m_items;
    size_t m_first = 0, m_count = 0;
};

class AxiMemory {
  public:
    AxiMemory(uint8_t* contents, uint64_t base, uint64_t size)
        : m_contents(contents), m_base(base), m_size(size) {}

    // Nothing is on its way any more; the bytes stay.
    void reset(Vtop& top) {
        *this = AxiMemory(m_contents, m_base, m_size);
        top.m_axi__rvalid = top.m_axi__bvalid = 0;
    }

    // Begin to count: what is drawn from now on depends on nothing before.
    void start(const Timing& timing, const Fault* faults, size_t count) {
        m_timing = timing;
        m_faults.assign(faults, faults + count);
        m_traffic = Traffic{};
        m_read_windows.clear();
        m_write_windows.clear();
        m_read_credit = m_write_credit = ONE_BEAT;
        m_answered = 0;
        m_violation.clear();
    }

    void observe(const Vtop& top, uint64_t cycle) {
        if (top.m_axi__arvalid | m_ar.waiting) take_read(top, cycle);
        m_r_moved = top.m_axi__rvalid && top.m_axi__rready;
        if (m_r_moved) {
            if (++m_r_beat == m_reads.front().beats) {
                m_reads.pop();
                m_r_beat = 0;
            }
            ++m_traffic.read_beats;
            m_read_windows.count(cycle);
        }
        if (top.m_axi__awvalid | m_aw.waiting) take_write(top, cycle);
        if (top.m_axi__wvalid | m_w_waiting) take_data(top, cycle);
        while (!m_data.empty() && !m_writes.empty() && !m_answers.full()) write(cycle);
        m_b_moved = top.m_axi__bvalid && top.m_axi__bready;
        if (m_b_moved) m_answers.pop();
    }

    void drive(Vtop& top, uint64_t cycle) {
        top.m_axi__arready = !m_reads.full() && !m_timing.held(AR, cycle);
        top.m_axi__awready = !m_writes.full() && !m_timing.held(AW, cycle);
        earn(m_write_credit);
        top.m_axi__wready =
            m_write_credit >= ONE_BEAT && !m_data.full() && !m_timing.held(W, cycle);
        drive_read(top, cycle);
        if (!top.m_axi__bvalid || m_b_moved) {
            bool offer = !m_answers.empty() && m_answers.front().due <= cycle &&
                         !m_timing.held(B, cycle);
            top.m_axi__bvalid = offer;
            if (offer) {
                top.m_axi__bid = m_answers.front().id;
                top.m_axi__bresp = m_answers.front().response;
            }
        }
    }

    const Traffic& traffic() const { return m_traffic; }
    const Windows& moved(bool writes) const { return writes ? m_write_windows : m_read_windows; }
    const std::string& violation() const { return m_violation; }

  private:
    struct Request {
        uint64_t address;
        uint32_t id, beats, size, burst, cache, prot;
        bool operator==(const Request& o) const {
            return address == o.address && id == o.id && beats == o.beats && size == o.size &&
                   burst == o.burst && cache == o.cache && prot == o.prot;
        }
    };
    struct Burst {
        uint64_t address, due;
        uint32_t beats, id, done;
        uint8_t response;
    };
    struct Beat {
        uint8_t bytes[BUS_BYTES];
        uint32_t strobes;
        bool last;
        bool operator==(const Beat& o) const {
            return !memcmp(bytes, o.bytes, BUS_BYTES) && strobes == o.strobes && last == o.last;
        }
    };
    struct Waiting {
        bool waiting = false;
        Request request;
    };

    void take_read(const Vtop& top, uint64_t cycle) {
        Request request{top.m_axi__araddr, top.m_axi__arid,    top.m_axi__arlen + 1u,
                        top.m_axi__arsize, top.m_axi__arburst, top.m_axi__arcache,
                        top.m_axi__arprot};
        if (!taken("AR", m_ar, request, top.m_axi__arvalid, top.m_axi__arready, cycle)) return;
        uint64_t due = cycle + m_timing.read_latency + m_timing.extra(R, m_traffic.read_bursts++);
        m_reads.push({request.address, due, request.beats, request.id, 0, OKAY});
        m_traffic.read_bytes += uint64_t(request.beats) * BUS_BYTES;
    }

    void take_write(const Vtop& top, uint64_t cycle) {
        Request request{top.m_axi__awaddr, top.m_axi__awid,    top.m_axi__awlen + 1u,
                        top.m_axi__awsize, top.m_axi__awburst, top.m_axi__awcache,
                        top.m_axi__awprot};
        if (!taken("AW", m_aw, request, top.m_axi__awvalid, top.m_axi__awready, cycle)) return;
        m_writes.push({request.address, 0, request.beats, request.id, 0, OKAY});
        ++m_traffic.write_bursts;
    }

    bool taken(const char* name, Waiting& state, const Request& request, bool valid, bool ready,
               uint64_t cycle) {
        if (state.waiting && !valid) violate(cycle, name, "valid fell before ready");
        if (state.waiting && valid && !(request == state.request))
            violate(cycle, name, "payload changed while it waited");
        state.waiting = valid && !ready;
        state.request = request;
        if (!valid || !ready) return false;
        uint64_t size = uint64_t(request.beats) * BUS_BYTES;
        if (request.burst != 1) violate(cycle, name, "burst is not INCR");
        if (1u << request.size != BUS_BYTES) violate(cycle, name, "size is not that of the bus");
        if (request.address % BUS_BYTES) violate(cycle, name, "address is not aligned to a beat");
        if (request.beats > m_timing.burst) violate(cycle, name, "burst is longer than allowed");
        if (request.address % 4096 + size > 4096) violate(cycle, name, "burst crosses 4 KiB");
        return true;
    }

    void take_data(const Vtop& top, uint64_t cycle) {
        Beat beat;
        memcpy(beat.bytes, &top.m_axi__wdata, BUS_BYTES);
        beat.strobes = top.m_axi__wstrb;
        beat.last = top.m_axi__wlast;
        bool valid = top.m_axi__wvalid, ready = top.m_axi__wready;
        if (m_w_waiting && !valid) violate(cycle, "W", "valid fell before ready");
        if (m_w_waiting && valid && !(beat == m_w_beat))
            violate(cycle, "W", "payload changed while it waited");
        m_w_waiting = valid && !ready;
        m_w_beat = beat;
        if (!valid || !ready) return;
        m_data.push(beat);
        m_write_windows.count(cycle);
        m_write_credit -= ONE_BEAT;
    }

    // Carry out one beat whose address and data are both there.
    void write(uint64_t cycle) {
        Burst& burst = m_writes.front();
        const Beat& beat = m_data.front();
        uint64_t address = burst.address + uint64_t(burst.done) * BUS_BYTES;
        uint8_t response = answer(address, 2);
        if (response == OKAY) {
            uint8_t* to = m_contents + (address - m_base);
            for (unsigned i = 0; i < BUS_BYTES; ++i)
                if (beat.strobes >> i & 1) to[i] = beat.bytes[i];
        }
        m_traffic.write_bytes += __builtin_popcount(beat.strobes);
        ++m_traffic.write_beats;
        burst.response = std::max(burst.response, response);
        bool last = ++burst.done == burst.beats;
        if (beat.last != last)
            violate(cycle, "W", last ? "wlast is missing on the last beat" : "wlast is too early");
        m_data.pop();
        if (!last) return;
        burst.due = cycle + m_timing.write_latency + m_timing.extra(B, m_answered++);
        m_answers.push(burst);
        m_writes.pop();
    }

    void drive_read(Vtop& top, uint64_t cycle) {
        earn(m_read_credit);
        if (!top.m_axi__rvalid || m_r_moved) {
            bool offer = !m_reads.empty() && m_reads.front().due <= cycle &&
                         m_read_credit >= ONE_BEAT && !m_timing.held(R, cycle);
            top.m_axi__rvalid = offer;
            if (offer) {
                m_read_credit -= ONE_BEAT;
                offer_beat(top);
            }
        }
    }

    // What was not used is kept for one beat, not for more.
    void earn(uint32_t& credit) const {
        credit = std::min(credit, ONE_BEAT) + m_timing.bandwidth;
    }

    void offer_beat(Vtop& top) {
        const Burst& burst = m_reads.front();
        uint64_t address = burst.address + uint64_t(m_r_beat) * BUS_BYTES;
        uint8_t response = answer(address, 1);
        if (inside(address))
            memcpy(&top.m_axi__rdata, m_contents + (address - m_base), BUS_BYTES);
        else
            memset(&top.m_axi__rdata, 0, BUS_BYTES);
        top.m_axi__rid = burst.id;
        top.m_axi__rresp = response;
        top.m_axi__rlast = m_r_beat + 1 == burst.beats;
    }

    bool inside(uint64_t address) const {
        return address >= m_base && address - m_base < m_size;
    }

    uint8_t answer(uint64_t address, uint32_t access) const {
        uint8_t response = inside(address) ? OKAY : DECERR;
        for (const Fault& fault : m_faults)
            if (fault.accesses & access && address < fault.end && address + BUS_BYTES > fault.start)
                response = std::max(response, uint8_t(fault.response));
        return response;
    }

    void violate(uint64_t cycle, const char* channel, const char* what) {
        if (!m_violation.empty()) return;
        m_violation = std::string(channel) + " in cycle " + std::to_string(cycle) + ": " + what;
    }

    uint8_t* m_contents;
    uint64_t m_base, m_size;
    Timing m_timing{};
    std::vector<Fault> m_faults;
    Traffic m_traffic{};
    Windows m_read_windows, m_write_windows;
    std::string m_violation;
    uint32_t m_read_credit = ONE_BEAT, m_write_credit = ONE_BEAT;
    Waiting m_ar, m_aw;
    Beat m_w_beat;
    bool m_w_waiting = false, m_r_moved = false, m_b_moved = false;
    uint32_t m_r_beat = 0;
    uint64_t m_answered = 0;
    Ring<Burst, 256> m_reads, m_writes, m_answers;
    Ring<Beat, 1024> m_data;
};

}  // namespace rtl

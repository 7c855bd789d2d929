// One verilated accelerator with its memory, behind a C ABI that library.py binds.
//
// A cycle: the wires settle with the clock low, everybody looks at them, the clock rises, and the
// inputs of the next cycle are set. Cycle 0 is the one in which the start strobe is high.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "axi_memory.h"
#include "glue.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
#endif

namespace rtl {

#if VM_TRACE_FST
using Waves = VerilatedFstC;
#elif VM_TRACE_VCD
using Waves = VerilatedVcdC;
#endif
constexpr unsigned STATES = 8;
constexpr unsigned RESET_CYCLES = 4, ANSWER_CYCLES = 1000;

enum Outcome : int { GOING = 0, INTERRUPTED = 1, VIOLATED = 2 };

// What the probes said since the start; `glue.h` calls these in every cycle.
struct Records {
    struct Beats {
        std::vector<uint32_t> words;
        std::vector<uint64_t> cycles;
    };

    template <class T>
    void beat(unsigned probe, const T& payload) {
        if (!(wanted >> probe & 1)) return;
        Beats& to = beats[probe];
        append(to.words, payload);
        to.cycles.push_back(cycle);
    }

    void start(uint32_t units) { note(begun, units); }

    void done(uint32_t units) {
        note(finished, units);
        if (units >> gemm & 1) rows.resize(rows.size() + STATES);
    }

    void array(uint32_t state) { ++rows[rows.size() - STATES + state]; }

    void clear() {
        for (Beats& probe : beats) probe = Beats{};
        begun.clear();
        finished.clear();
        rows.assign(STATES, 0);
    }

    uint64_t cycle = 0;
    uint64_t wanted = 0;
    uint32_t gemm = 0;
    Beats beats[PROBES + 1];  // one more, as a design may have none
    std::vector<uint64_t> begun, finished;  // pairs of cycle and unit
    std::vector<uint32_t> rows = std::vector<uint32_t>(STATES);

  private:
    void note(std::vector<uint64_t>& to, uint32_t units) const {
        for (uint32_t unit = 0; units >> unit; ++unit)
            if (units >> unit & 1) to.insert(to.end(), {cycle, unit});
    }

    static void append(std::vector<uint32_t>& to, CData value) { to.push_back(value); }
    static void append(std::vector<uint32_t>& to, SData value) { to.push_back(value); }
    static void append(std::vector<uint32_t>& to, IData value) { to.push_back(value); }
    static void append(std::vector<uint32_t>& to, QData value) {
        to.push_back(uint32_t(value));
        to.push_back(uint32_t(value >> 32));
    }
    template <size_t N>
    static void append(std::vector<uint32_t>& to, const VlWide<N>& value) {
        to.insert(to.end(), value.data(), value.data() + N);
    }
};

class Simulation {
  public:
    Simulation(uint8_t* contents, uint64_t base, uint64_t size) : m_memory(contents, base, size) {
        const char* no_arguments[] = {"model"};
        m_context.commandArgs(1, no_arguments);
#if VM_TRACE
        m_context.traceEverOn(true);
#endif
        m_top = std::make_unique<Vtop>(&m_context, "top");
        reset();
    }

    // Of the design and all that is on its way to and from memory; cycle 0 follows.
    void reset() {
        Timing timing{};
        timing.bandwidth = ONE_BEAT;
        m_memory.reset(*m_top);
        m_memory.start(timing, nullptr, 0);
        m_top->rst = 1;
        for (unsigned i = 0; i < RESET_CYCLES; ++i) {
            settle();
            rise();
        }
        m_top->rst = 0;
        m_cycle = 0;
        m_memory.drive(*m_top, 0);
    }

    ~Simulation() { m_top->final(); }

    // Write a register; returns the response, or -1 where there is none.
    int write(uint32_t address, uint32_t value) {
        m_top->s_axil__awaddr = address;
        m_top->s_axil__awprot = 0;
        m_top->s_axil__wdata = value;
        m_top->s_axil__wstrb = 15;
        m_top->s_axil__awvalid = m_top->s_axil__wvalid = m_top->s_axil__bready = 1;
        int response = -1;
        for (unsigned i = 0; i < ANSWER_CYCLES && response < 0; ++i) {
            settle();
            bool address_moved = m_top->s_axil__awready, data_moved = m_top->s_axil__wready;
            if (m_top->s_axil__bvalid) response = m_top->s_axil__bresp;
            clock();
            if (address_moved) m_top->s_axil__awvalid = 0;
            if (data_moved) m_top->s_axil__wvalid = 0;
        }
        m_top->s_axil__awvalid = m_top->s_axil__wvalid = m_top->s_axil__bready = 0;
        return response;
    }

    // Read a register into `value`; returns as `write`.
    int read(uint32_t address, uint32_t& value) {
        m_top->s_axil__araddr = address;
        m_top->s_axil__arprot = 0;
        m_top->s_axil__arvalid = m_top->s_axil__rready = 1;
        int response = -1;
        for (unsigned i = 0; i < ANSWER_CYCLES && response < 0; ++i) {
            settle();
            bool address_moved = m_top->s_axil__arready;
            if (m_top->s_axil__rvalid) {
                response = m_top->s_axil__rresp;
                value = m_top->s_axil__rdata;
            }
            clock();
            if (address_moved) m_top->s_axil__arvalid = 0;
        }
        m_top->s_axil__arvalid = m_top->s_axil__rready = 0;
        return response;
    }

    // As `write`; the cycle of the answer, which is that of the strobe, becomes cycle 0.
    int start(uint32_t address, uint32_t value, const Timing& timing, const Fault* faults,
              size_t count) {
        int response = write(address, value);
        records.clear();
        m_cycle = 1;
        m_memory.start(timing, faults, count);
        m_memory.drive(*m_top, m_cycle);
        return response;
    }

    // Run for some cycles, or until the interrupt is high at the end of one.
    Outcome advance(uint64_t cycles) {
        for (; cycles; --cycles) {
            settle();
            records.cycle = m_cycle;
            sample_probes(*m_top, records);
            bool irq = m_top->irq;
            clock();
            if (!m_memory.violation().empty()) return VIOLATED;
            if (irq) return INTERRUPTED;
        }
        return GOING;
    }

#if VM_TRACE
    void trace(const char* path, uint64_t begin, uint64_t end) {
        if (m_trace) m_trace->close();
        m_trace.reset();
        m_begin = begin;
        m_end = end;
        if (!*path) return;
        m_trace = std::make_unique<Waves>();
        m_top->trace(m_trace.get(), 99);
        m_trace->open(path);
    }
#endif

    bool irq() const { return m_top->irq; }
    uint64_t last_cycle() const { return m_cycle - 1; }
    const AxiMemory& memory() const { return m_memory; }

    Records records;

  private:
    void settle() {
        m_top->clk = 0;
        m_top->eval();
        dump(0);
    }

    void clock() {
        m_memory.observe(*m_top, m_cycle);
        rise();
        m_memory.drive(*m_top, ++m_cycle);
    }

    void rise() {
        m_top->clk = 1;
        m_top->eval();
        dump(1);
    }

    void dump(unsigned half) {
#if VM_TRACE
        // Ten units per cycle, the clock rising in its middle.
        if (m_trace && m_cycle >= m_begin && m_cycle < m_end)
            m_trace->dump(10 * m_cycle + 5 * half);
#endif
    }

    VerilatedContext m_context;
    std::unique_ptr<Vtop> m_top;
    AxiMemory m_memory;
    uint64_t m_cycle = 0;
#if VM_TRACE
    std::unique_ptr<Waves> m_trace;
    uint64_t m_begin = 0, m_end = 0;
#endif
};

}  // namespace rtl

#define ABI extern "C" __attribute__((visibility("default")))
using rtl::Simulation;

ABI void* rtl_open(uint8_t* contents, uint64_t base, uint64_t size) {
    return new Simulation(contents, base, size);
}

ABI void rtl_reset(void* self) { static_cast<Simulation*>(self)->reset(); }

ABI void rtl_close(void* self) { delete static_cast<Simulation*>(self); }

ABI int rtl_write(void* self, uint32_t address, uint32_t value) {
    return static_cast<Simulation*>(self)->write(address, value);
}

ABI int rtl_read(void* self, uint32_t address, uint32_t* value) {
    return static_cast<Simulation*>(self)->read(address, *value);
}

ABI int rtl_start(void* self, uint32_t address, uint32_t value, const rtl::Timing* timing,
                  const rtl::Fault* faults, uint64_t count) {
    return static_cast<Simulation*>(self)->start(address, value, *timing, faults, count);
}

ABI void rtl_record(void* self, uint64_t wanted, uint32_t gemm) {
    rtl::Records& records = static_cast<Simulation*>(self)->records;
    records.wanted = wanted;
    records.gemm = gemm;
}

ABI int rtl_advance(void* self, uint64_t cycles) {
    return static_cast<Simulation*>(self)->advance(cycles);
}

ABI int rtl_irq(void* self) { return static_cast<Simulation*>(self)->irq(); }

ABI uint64_t rtl_cycle(void* self) { return static_cast<Simulation*>(self)->last_cycle(); }

ABI const char* rtl_violation(void* self) {
    return static_cast<Simulation*>(self)->memory().violation().c_str();
}

ABI void rtl_traffic(void* self, rtl::Traffic* to) {
    *to = static_cast<Simulation*>(self)->memory().traffic();
}

ABI uint64_t rtl_beats(void* self, uint32_t probe, const uint32_t** words,
                       const uint64_t** cycles) {
    const auto& beats = static_cast<Simulation*>(self)->records.beats[probe];
    *words = beats.words.data();
    *cycles = beats.cycles.data();
    return beats.cycles.size();
}

ABI uint64_t rtl_begun(void* self, const uint64_t** pairs) {
    const auto& begun = static_cast<Simulation*>(self)->records.begun;
    *pairs = begun.data();
    return begun.size() / 2;
}

ABI uint64_t rtl_done(void* self, const uint64_t** pairs) {
    const auto& finished = static_cast<Simulation*>(self)->records.finished;
    *pairs = finished.data();
    return finished.size() / 2;
}

ABI uint64_t rtl_moved(void* self, int writes, const uint32_t** beats) {
    const rtl::Windows& moved = static_cast<Simulation*>(self)->memory().moved(writes);
    *beats = moved.data();
    return moved.size();
}

ABI uint64_t rtl_array(void* self, const uint32_t** counts) {
    const auto& rows = static_cast<Simulation*>(self)->records.rows;
    *counts = rows.data();
    return rows.size() / rtl::STATES;
}

ABI uint32_t rtl_draw(uint64_t seed, uint32_t channel, uint64_t count) {
    return rtl::draw(seed, channel, count);
}

#if VM_TRACE
ABI void rtl_trace(void* self, const char* path, uint64_t begin, uint64_t end) {
    static_cast<Simulation*>(self)->trace(path, begin, end);
}
#endif

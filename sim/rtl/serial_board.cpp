// A verilated board with a serial line, behind a pseudo-terminal: what a program opens as a serial
// port is the line that the design's pins see, bit by bit.
//
//     serial_board PERIOD STEP PATIENCE
//
// A bit takes PERIOD / STEP cycles. The first line of standard output is the terminal's path, and
// each that follows is a byte of an answer: the cycle in which the first start bit of its request
// began, and that in which its own stop bit ended. Time stands still while the line has been quiet for
// PATIENCE cycles. The program ends when standard input does.

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr unsigned RESET_CYCLES = 4, FRAME_BITS = 10, LOOK_EVERY = 256;

// The end of each bit, on average exact.
struct BitClock {
    uint64_t period, step, phase = 0;
    bool tick() {
        phase += step;
        if (phase < period) return false;
        phase -= period;
        return true;
    }
};

class Sender {
  public:
    Sender(uint64_t period, uint64_t step) : m_clock{period, step} {}
    bool busy() const { return m_left || !bytes.empty(); }
    bool line() const { return !m_left || (m_bits & 1); }
    void cycle() {
        if (m_left && m_clock.tick()) {
            m_bits >>= 1;
            --m_left;
        }
        if (m_left || bytes.empty()) return;
        m_bits = bytes.front() << 1 | 1u << (FRAME_BITS - 1);
        m_left = FRAME_BITS;
        bytes.pop_front();
    }
    std::deque<uint8_t> bytes;

  private:
    BitClock m_clock;
    unsigned m_bits = 1, m_left = 0;
};

class Receiver {
  public:
    Receiver(uint64_t period, uint64_t step) : m_clock{period, step} {}
    bool busy() const { return m_left; }
    // Whether a byte has come; one without its stop bit is a fault of the design.
    bool cycle(bool line, uint8_t& byte) {
        if (!m_left) {
            if (line) return false;
            m_left = FRAME_BITS;
            m_clock.phase = m_clock.period / 2;
            return false;
        }
        if (!m_clock.tick()) return false;
        --m_left;
        bool starts = m_left == FRAME_BITS - 1;
        if (starts ? line : m_left == 0 && !line) {
            std::fprintf(stderr, "the board's line has a %s bit that is wrong\n",
                         starts ? "start" : "stop");
            std::exit(1);
        }
        m_bits = m_bits >> 1 | unsigned(line) << (FRAME_BITS - 1);
        byte = uint8_t(m_bits >> 1);
        return m_left == 0;
    }

  private:
    BitClock m_clock;
    unsigned m_bits = 0, m_left = 0;
};

unsigned long long ull(uint64_t number) { return number; }

int open_terminal() {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) || unlockpt(master)) return -1;
    // Kept open, so that the terminal outlives each program that opens it.
    int kept = open(ptsname(master), O_RDWR | O_NOCTTY);
    termios modes;
    if (kept < 0 || tcgetattr(kept, &modes)) return -1;
    cfmakeraw(&modes);
    return tcsetattr(kept, TCSANOW, &modes) ? -1 : master;
}

}  // namespace

int main(int count, char** words) {
    if (count != 4) return 2;
    const uint64_t period = std::strtoull(words[1], nullptr, 10);
    const uint64_t step = std::strtoull(words[2], nullptr, 10);
    const uint64_t patience = std::strtoull(words[3], nullptr, 10);
    int terminal = open_terminal();
    if (terminal < 0) {
        std::perror("pseudo-terminal");
        return 1;
    }
    std::printf("%s\n", ptsname(terminal));
    std::fflush(stdout);

    VerilatedContext context;
    auto top = std::make_unique<Vtop>(&context, "top");
    Sender host(period, step);
    Receiver board(period, step);
    top->rx = 1;
    top->rst = 1;
    uint64_t begun = 0, moved = 0;
    for (uint64_t cycle = 0;; ++cycle) {
        if (cycle == RESET_CYCLES) top->rst = 0;
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        uint8_t byte;
        if (board.cycle(top->tx, byte)) {
            if (write(terminal, &byte, 1) != 1) return 1;
            std::printf("%llu %llu\n", ull(begun), ull(cycle + period / step / 2));
        }
        host.cycle();
        top->rx = host.line();
        if (host.busy() || board.busy()) moved = cycle;
        bool quiet = cycle - moved > patience;
        if (cycle % LOOK_EVERY && !quiet) continue;
        pollfd files[] = {{terminal, POLLIN, 0}, {0, POLLIN, 0}};
        if (poll(files, 2, quiet ? -1 : 0) < 0) return 1;
        if (files[1].revents) return 0;
        if (files[0].revents & POLLIN) {
            if (!host.busy()) begun = cycle;
            uint8_t bytes[4096];
            ssize_t found = read(terminal, bytes, sizeof bytes);
            for (ssize_t i = 0; i < found; ++i) host.bytes.push_back(bytes[i]);
            moved = cycle;
        }
    }
}

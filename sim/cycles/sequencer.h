// Reads the program and gives each unit its commands in time (hw/sequencer.py).

#pragma once

#include <cstring>

#include "reader.h"

namespace cycles {

constexpr int UNITS = isa::UNITS;
constexpr Part PART_OF[UNITS] = {FETCH, PATCHIFY, WEIGHTS, PRODUCT, STORE, LAYERNORM, ATTENTION};

// One command of the program: 32 bytes, of which operands are read where they lie.
class Command {
  public:
    explicit Command(const uint8_t* bytes = nullptr) : m_bytes(bytes) {}
    int64_t operator[](isa::Operand operand) const {
        uint64_t word;  // operands have 40 bits at most; the program is padded
        std::memcpy(&word, m_bytes + operand.bit / 8, sizeof word);
        word = word >> operand.bit % 8 << (64 - operand.width);
        return operand.is_signed ? int64_t(word) >> (64 - operand.width)
                                 : int64_t(word >> (64 - operand.width));
    }
    int64_t opcode() const { return m_bytes[0] & ((1 << isa::OPCODE_BITS) - 1); }
    int unit() const { return isa::UNIT_OF[opcode()]; }

  private:
    const uint8_t* m_bytes;
};

class Sequencer {
  public:
    Sequencer(const Design& design, const uint8_t* program, int64_t commands)
        : reader(design, SEQUENCER_READS), m_design(design), m_program(program),
          m_beats(design.beats_ahead + 1) {
        for (Unit& unit : m_units) unit.queue = Queue<Entry>(design.command_queue, 1);
        begun.resize(commands - 1, -1);
        done.resize(commands - 1, -1);
    }

    // When the unit is offered a command, at the earliest, as far as is known.
    Cycle offers(int unit) const { return m_units[unit].granted_from; }

    // The same for who has nothing to do in this cycle.
    Cycle next(int unit, Cycle now) const { return std::max(now + 1, offers(unit)); }

    // Give the unit the command that it is offered.
    template <class Machine>
    Command give(Machine& machine, int number, Cycle now) {
        Unit& unit = m_units[number];
        const Entry& entry = unit.queue.front();
        begun[entry.index] = now;
        unit.at_work = entry.index;
        Command command = entry.command;
        unit.queue.pop(now);
        unit.granted_from = NEVER;
        unit.at_work_until = NEVER;
        look(machine, number);
        if (m_blocked) machine.poke(SEQUENCER, now + 1);
        return command;
    }

    // The unit has finished its command in this cycle.
    template <class Machine>
    void finish(Machine& machine, int number, Cycle now) {
        Unit& unit = m_units[number];
        done[unit.at_work] = now;
        unit.at_work_until = now + m_design.done;
        unit.finished.push_back(now + m_design.done);
        for (int other = 0; other < UNITS; ++other) look(machine, other);
        machine.poke(SEQUENCER, now + m_design.done + 1);
    }

    bool ended(Cycle now) const { return m_ended_from <= now; }
    // Nothing is read, waits or is at work.
    template <class Machine>
    bool idle(Machine& machine, Cycle now) {
        if (reader.busy(machine.bus, now)) return false;
        for (const Unit& unit : m_units)
            if (unit.queue.level(now) || unit.at_work_until >= now) return false;
        return true;
    }

    template <class Machine>
    APART void tick(Machine& machine, Cycle now) {
        if (now < m_design.reset_end + 1) return machine.poke(SEQUENCER, m_design.reset_end + 1);
        dispatch(machine, now);
        read(machine, now);
        Cycle next = std::max(now + 1, reader.available(machine.bus, now + 1));
        if (m_beats.size() && !m_full && !m_stopped)
            next = std::min(next, std::max(now + 1, m_beats.available()));
        if (m_full && !m_stopped && !m_blocked) next = std::min(next, std::max(now + 1, m_checked));
        // Who has offered a run that was not taken is woken by the reader.
        if (m_asks && !reader.waits()) next = now + 1;
        machine.poke(SEQUENCER, next);
    }

    Reader reader;
    std::vector<Cycle> begun, done;

  private:
    struct Entry {
        Command command;
        int64_t index;
    };
    struct Unit {
        Queue<Entry> queue{0, 1};
        Cycle granted_from = NEVER, at_work_until = PAST;
        int64_t at_work = -1;
        std::vector<Cycle> finished;
    };

    // Commands that are asked for and not passed on have a place for their beats.
    bool asks(Cycle now) const {
        return !m_stopped && m_owed <= m_design.commands_ahead - m_design.piece_commands &&
               now >= m_design.reset_end + 1;
    }

    template <class Machine>
    void read(Machine& machine, Cycle now) {
        if (reader.available(machine.bus, now) <= now) {
            reader.pop(machine, now);
            m_beats.push(now);
        }
        Reader::Run run{m_offset, m_design.piece_beats, 0};
        if (reader.tick(machine, now, m_asks ? &run : nullptr)) {
            m_offset += m_design.piece_beats * m_design.bus_bytes;
            m_owed += m_design.piece_commands;
        }
        m_asks = asks(now + 1);
    }

    template <class Machine>
    void dispatch(Machine& machine, Cycle now) {
        m_blocked = false;
        if (m_stopped) return;
        if (!m_full) {
            if (m_beats.available() > now) return;
            m_beats.pop(now);
            if (++m_place < isa::COMMAND_BYTES / m_design.bus_bytes) return;
            m_place = 0;
            m_full = true;
            m_checked = now + 2;
            return;
        }
        if (now < m_checked) return;
        Command command(m_program + m_index * isa::COMMAND_BYTES);
        if (command.opcode() == isa::OP_END) {
            m_stopped = true;
            m_asks = false;
            m_ended_from = now + 1;
            return;
        }
        Unit& unit = m_units[command.unit()];
        if (!unit.queue.writable(now)) {
            m_blocked = true;
            return;
        }
        unit.queue.push(now, {command, m_index++});
        --m_owed;
        m_full = false;
        look(machine, command.unit());
    }

    // When the head of a unit's queue is granted, if that is certain by now: it is looked at in its
    // turn, once it is there and the one before has left, and its waits must be over then.
    template <class Machine>
    void look(Machine& machine, int number) {
        Unit& unit = m_units[number];
        if (unit.queue.empty() || unit.granted_from < NEVER) return;
        Cycle from = unit.queue.available();
        const Command& command = unit.queue.front().command;
        for (const isa::Wait& wait : isa::WAITS) {
            int64_t on = command[wait.unit];
            if (on >= UNITS) continue;
            // Counts have 16 bits; what is less than 2^15 ahead is still to come.
            const std::vector<Cycle>& finished = m_units[on].finished;
            int64_t ahead = int16_t(command[wait.count] - int64_t(finished.size()));
            if (ahead > 0) return;
            int64_t needed = int64_t(finished.size()) + ahead;
            if (needed > 0) from = std::max(from, finished[needed - 1]);
        }
        Cycle turn = m_design.reset_end + number;
        Cycle period = UNITS;
        Cycle seen = from + ((turn - from) % period + period) % period;
        unit.granted_from = seen + 2;
        machine.poke(PART_OF[number], unit.granted_from);
    }

    const Design& m_design;
    const uint8_t* m_program;
    BufferedQueue<Nothing> m_beats;
    Unit m_units[UNITS];
    int64_t m_offset = 0, m_owed = 0, m_index = 0, m_place = 0;
    bool m_asks = true, m_full = false, m_stopped = false, m_blocked = false;
    Cycle m_checked = NEVER, m_ended_from = NEVER;
};

}  // namespace cycles

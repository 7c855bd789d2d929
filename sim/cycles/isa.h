// The instruction set, and what it works on, as design.py hands it over.

#pragma once

#include <cstdint>

namespace cycles::isa {

struct Operand {
    int bit, width;
    bool is_signed;
};
struct Wait {
    Operand unit, count;
};

#define OPERAND(name, bit, width, is_signed) constexpr Operand name{bit, width, is_signed};
#define NUMBER(name, value) constexpr int64_t name = value;
ISA_OPERANDS
ISA_NUMBERS
#undef OPERAND
#undef NUMBER

constexpr Wait WAITS[] = {{WAIT_UNIT_0, WAIT_COUNT_0}, {WAIT_UNIT_1, WAIT_COUNT_1}};
constexpr int64_t UNIT_OF[] = {ISA_UNIT_OF};

}  // namespace cycles::isa

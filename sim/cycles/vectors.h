// The order of a product's vectors (hw/gemm_unit.py): a walk over its passes.

#pragma once

#include "sequencer.h"

namespace cycles {

// Where in a product a vector is.
class Walk {
  public:
    Walk() = default;
    explicit Walk(const Command& command)
        : m_tokens(command[isa::GEMM_TOKENS]), m_tiles(command[isa::GEMM_TILES]),
          m_digits(command[isa::GEMM_ACTIVATION_DIGITS]),
          m_weight_digits(command[isa::GEMM_WEIGHT_DIGITS]), m_groups(command[isa::GEMM_GROUPS]),
          m_base(command[isa::GEMM_BASE]), m_stride(command[isa::GEMM_STRIDE]),
          m_digit_stride(command[isa::GEMM_DIGIT_STRIDE]), m_shared(command[isa::GEMM_SHARED]) {}

    bool over() const { return m_group == m_groups; }
    int64_t token() const { return m_token; }
    int64_t tokens() const { return m_tokens; }
    // The first vector of a tile of weights.
    bool first() const { return m_token == 0 && m_digit == 0; }
    // The pass ends the sums of its tokens.
    bool last_pass() const {
        return m_digit == m_digits - 1 && m_tile == m_tiles - 1 &&
               m_weight_digit == m_weight_digits - 1;
    }
    // No vector after the pass needs the present parameters.
    bool retires() const { return last_pass() && (last_group() || !m_shared); }
    bool ends_command() const { return last_pass() && last_group(); }
    // The word, but for multiples of what all words have added.
    int64_t address() const {
        return m_base + m_tile * m_stride + m_digit * m_digit_stride + m_token;
    }

    // Go on by vectors that do not go beyond the pass.
    void advance(int64_t count = 1) {
        m_token += count;
        if (m_token < m_tokens) return;
        m_token = 0;
        if (++m_digit < m_digits) return;
        m_digit = 0;
        if (++m_tile < m_tiles) return;
        m_tile = 0;
        if (++m_weight_digit < m_weight_digits) return;
        m_weight_digit = 0;
        ++m_group;
    }

  private:
    bool last_group() const { return m_group == m_groups - 1; }

    int64_t m_tokens = 0, m_tiles = 0, m_digits = 0, m_weight_digits = 0, m_groups = 0;
    int64_t m_base = 0, m_stride = 0, m_digit_stride = 0, m_shared = 0;
    int64_t m_token = 0, m_digit = 0, m_tile = 0, m_weight_digit = 0, m_group = 0;
};

}  // namespace cycles

"""The C++ header that tells the runner the ports of one design: its bus and its probes."""

import re
from collections.abc import Mapping

Ports = Mapping[str, tuple[str, int]]
"""Port -> direction, "i" or "o", and width in bits, as `hw.verilog.ports` gives them."""

BUS_WIDTHS = (32, 64, 128)
REQUEST = ("id", "addr", "len", "size", "burst", "cache", "prot", "valid", "ready")
NEEDED = (
    "clk",
    "rst",
    "irq",
    *(f"m_axi__a{kind}{part}" for kind in "rw" for part in REQUEST),
    *(f"m_axi__r{part}" for part in ("id", "data", "resp", "last", "valid", "ready")),
    *(f"m_axi__w{part}" for part in ("data", "strb", "last", "valid", "ready")),
    *(f"m_axi__b{part}" for part in ("id", "resp", "valid", "ready")),
    *(f"s_axil__a{kind}{part}" for kind in "rw" for part in ("addr", "prot", "valid", "ready")),
    *(f"s_axil__w{part}" for part in ("data", "strb", "valid", "ready")),
    *(f"s_axil__b{part}" for part in ("resp", "valid", "ready")),
    *(f"s_axil__r{part}" for part in ("data", "resp", "valid", "ready")),
)
"""Ports that every design must have."""

HEADER = """\
// Ports of one design, written by glue.py.
#pragma once

#include "Vtop.h"

// Verilator writes two underscores in a name as ___05F.
{names}

constexpr unsigned BUS_BYTES = {bus_bytes};
constexpr unsigned PROBES = {probes};

template <class R>
inline void sample_probes(const Vtop& top, R& records) {{
{samples}
}}
"""


def probes(ports: Ports) -> dict[str, int]:
    """Name -> payload bits of each stream of probes, in the order that the runner numbers them."""
    found = {}
    for port, (_, width) in ports.items():
        match = re.fullmatch(r"probe__(\w+)__payload", port)
        if match and f"probe__{match[1]}__valid" in ports:
            found[match[1]] = width
    return found


def header(ports: Ports) -> str:
    """Text of `glue.h` for a design with these ports.

    Raises: ValueError naming the port that is missing or of a wrong width.
    """
    for port in NEEDED:
        if port not in ports:
            raise ValueError(f"component must have the port {port}")
    bus = ports["m_axi__rdata"][1]
    if bus not in BUS_WIDTHS:
        raise ValueError(f"m_axi__rdata must be 32, 64 or 128 bits, not {bus}")
    if ports["s_axil__rdata"][1] != 32:
        raise ValueError(f"s_axil__rdata must be 32 bits, not {ports['s_axil__rdata'][1]}")
    samples = [
        f"    if (top.probe__{name}__valid) records.beat({index}, top.probe__{name}__payload);"
        for index, name in enumerate(probes(ports))
    ]
    if "probe__array" in ports:
        samples.append("    records.array(top.probe__array);")
    if "probe__start" in ports:
        samples.append("    if (top.probe__start) records.start(top.probe__start);")
    if "probe__done" in ports:  # after the array's state, which the command still owns
        samples.append("    if (top.probe__done) records.done(top.probe__done);")
    names = [f"#define {p} {p.replace('__', '___05F')}" for p in ports if "__" in p]
    return HEADER.format(
        names="\n".join(names),
        bus_bytes=bus // 8,
        probes=len(probes(ports)),
        samples="\n".join(samples),
    )

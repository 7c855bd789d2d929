"""The registers under a master that is not ours: cocotbext-axi's, attached by the port names."""

import logging
import random
from dataclasses import asdict

import cocotb
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from rootshift.config import AcceleratorConfig
from rootshift.csr import find_register, unpack_config
from rootshift.hw.csr import CsrBank
from rootshift.testbench.hw.bench import simulate
from rootshift.testbench.hw.harness import Bench
from rootshift.testbench.hw.patterns import pattern

CONFIG = AcceleratorConfig(rows=256, cols=256, lanes=256, token_depth=4096)


@cocotb.test()
async def stock_master_agrees(dut):
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bench = await Bench.start(dut)
    rng = random.Random(bench.params["seed"])
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk)
    write, read = master.write_if, master.read_if
    channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
    config, entry, unmapped = find_register("CONFIG"), find_register("ENTRY"), 0xFF0
    memory = bytearray(8)
    for spec in ("always", "random:0.5", "bursts:1,4"):
        for index, channel in enumerate(channels):
            acting = pattern(spec, index)
            # cocotbext-axi asks when to pause, not when to act.
            channel.set_pause_generator(not act for act in acting)
        words = await master.read_dwords(config.offset, len(config.offsets))
        assert asdict(unpack_config(words)) == bench.params["config"]
        for _ in range(20):
            first = rng.randrange(8)
            data = rng.randbytes(rng.randint(1, 8 - first))
            memory[first : first + len(data)] = data
            answer = await master.write(entry.offset + first, data)
            assert answer.resp == AxiResp.OKAY
            got = await master.read(entry.offset, 8)
            assert got.resp == AxiResp.OKAY
            bench.compare("entry read back", list(got.data), list(memory))
            bench.compare("entry", bench.get("entry"), int.from_bytes(memory, "little"))
        for offset, resp in ((config.offset, AxiResp.OKAY), (unmapped, AxiResp.SLVERR)):
            assert (await master.read(offset, 4)).resp == resp
            assert (await master.write(offset, bytes(4))).resp == AxiResp.SLVERR


def test_stock_master_agrees():
    params = {"config": asdict(CONFIG), "seed": 5}
    print(f"seed {params['seed']}")
    print(simulate(CsrBank(config=CONFIG), __name__, params=params))

"""How fast a design is at a clock, by the cycle model."""

from dataclasses import dataclass

from ..artifact import Artifact
from ..config import AcceleratorConfig


@dataclass(frozen=True)
class Pace:
    """One inference: its cycles on an ideal memory, and bytes that go over the memory bus."""

    cycles: int
    moved_bytes: int

    def at(self, clock_mhz: float) -> dict[str, float]:
        """frames_per_second, latency_ms, and memory_mb_per_s (read and written, 10^6 bytes)."""
        rate = clock_mhz * 1e6 / self.cycles
        return {
            "frames_per_second": round(rate, 3),
            "latency_ms": round(1e3 / rate, 4),
            "memory_mb_per_s": round(self.moved_bytes * rate / 1e6, 2),
        }


def pace_of(artifact: Artifact, config: AcceleratorConfig) -> Pace:
    """Compile the artifact and run the cycle model.

    Raises: ConfigError or ProgramError where it cannot run there, ToolError where the model cannot
    be compiled.
    """
    from ..hw.compiler import compile_program
    from ..sim.cycles.model import model_cycles

    timeline = model_cycles(compile_program(artifact, config))
    traffic = timeline.traffic
    return Pace(timeline.cycles, traffic.read_bytes + traffic.write_bytes)

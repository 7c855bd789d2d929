"""Points of coverage are named by their source, whatever Verilog they were counted in."""

from pathlib import Path

from rootshift.testbench.coverage.points import LINE, TOGGLE, Point, Sources, read
from rootshift.testbench.coverage.table import table

ROOT = Path("/checkout")
VERILOG = """\
module Unit(clk, go, count);
  (* src = "/checkout/hw/unit.py:7" *)
  reg [1:0] count = 2'h0;
  reg [1:0] \\$1 ;
  (* src = "/checkout/hw/unit.py:7" *)
  always @(posedge clk)
    count <= \\$1 ;
  assign \\$2  = go ? (* src = "/checkout/hw/unit.py:9" *) 1'h1 : 1'h0;
  always @* begin
    if (go) begin
      \\$1  = 2'h1;
    end
  end
endmodule
module Other(clk);
  reg [1:0] memory [1:0];
  initial begin
    memory[0] = 2'h0;
  end
endmodule
"""


def line(number: int, kind: str, what: str, count: int) -> str:
    fields = {"f": "top.v", "l": number, "n": 1, "page": f"{kind}/Unit", "o": what, "h": "Unit"}
    body = "".join(f"\x01{key}\x02{value}" for key, value in fields.items())
    return f"C '{body}' {count}\n"


def test_points_have_the_source_of_what_they_assign() -> None:
    data = "".join(
        (
            "# SystemC::Coverage-3\n",
            line(3, "v_toggle", "count[1]:0->1", 4),
            line(4, "v_toggle", "\\$1 [0]:0->1", 9),
            line(8, "v_branch", "cond_then", 0),
            line(10, "v_branch", "if", 2),
            line(10, "v_branch", "else", 3),
        )
    )
    assert read(data, Sources(VERILOG, ROOT)) == {
        Point(TOGGLE, "hw/unit.py:7", "count[1]:0->1"): 4,
        Point(LINE, "hw/unit.py:9", "cond_then 1"): 0,
        Point(LINE, "hw/unit.py:7", "if 1"): 2,
        Point(LINE, "hw/unit.py:7", "else 2"): 3,
    }


def test_table_by_source() -> None:
    counts = {
        Point(TOGGLE, "hw/unit.py:7", "count[0]:0->1"): 3,
        Point(TOGGLE, "hw/unit.py:7", "count[1]:0->1"): 0,
        Point(TOGGLE, "hw/wires.py:8", "high[1]:0->1"): 1,
        Point(LINE, "hw/unit.py:7", "if 1"): 1,
    }
    assert table(counts)[2:] == [
        "| hw/unit.py | 1 | 1 | 100.0 % | 2 | 1 | 50.0 % |",
        "| hw/wires.py | 0 | 0 | - | 1 | 1 | 100.0 % |",
        "| all | 1 | 1 | 100.0 % | 3 | 2 | 66.7 % |",
    ]

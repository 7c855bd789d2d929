// MULT18X18D of ECP5, as far as Rootshift uses it: one clock, no enable, no reset, no cascade.
// Source: Lattice FPGA-TN-02205, sysDSP usage guide.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",
    parameter REG_INPUTB_CLK = "NONE",
    parameter REG_PIPELINE_CLK = "NONE",
    parameter REG_OUTPUT_CLK = "NONE"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20,
    P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1,
    P0,
    input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB
);
    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
    };
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
    };
    reg [17:0] a_1 = 0, b_1 = 0;
    reg [35:0] product_1 = 0, product_2 = 0;
    wire [17:0] a_0 = REG_INPUTA_CLK == "NONE" ? a : a_1;
    wire [17:0] b_0 = REG_INPUTB_CLK == "NONE" ? b : b_1;
    wire signed [35:0] long_a = {{18{SIGNEDA & a_0[17]}}, a_0};
    wire signed [35:0] long_b = {{18{SIGNEDB & b_0[17]}}, b_0};
    wire [35:0] product = long_a * long_b;
    wire [35:0] piped = REG_PIPELINE_CLK == "NONE" ? product : product_1;
    always @(posedge CLK0) begin
        a_1 <= a;
        b_1 <= b;
        product_1 <= product;
        product_2 <= piped;
    end
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20,
        P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3,
        P2, P1, P0
    } = REG_OUTPUT_CLK == "NONE" ? piped : product_2;
endmodule

"""What goes through the array: the payload that the datapath takes and the gemm unit sends."""

from amaranth.lib import data


def digit_members(activation_digits: int, weight_digits: int) -> dict[str, range]:
    """Members that say which digits codes and weights hold, below their largest numbers."""
    return {"activation_digit": range(activation_digits), "weight_digit": range(weight_digits)}


def vector_layout(
    *,
    rows: int,
    code_width: int,
    depth: int,
    groups: int,
    activation_digits: int,
    weight_digits: int,
    tag_width: int,
) -> data.StructLayout:
    """Payload of `Gemm.i`: `rows` codes of `code_width` bits; the other parameters as of `Gemm`."""
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code_width, rows),
            "first": 1,
            "start": 1,
            "last": 1,
            **digit_members(activation_digits, weight_digits),
            "address": range(depth),
            "group": range(groups),
            "tag": tag_width,
        }
    )

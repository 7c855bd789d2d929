"""Methods of post-training quantization by name; `quant/methods/` has one class for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodName:
    """What a method is, for people, and whether its result has an integer form.

    Without one it reaches the fake level only: its quantizers are not those of the integer
    contract.
    """

    summary: str
    integer: bool = True


METHODS = {
    "repq": MethodName("RepQ-ViT, weights rounded to nearest"),
    "repq+erq": MethodName("RepQ-ViT; weights absorb the errors of activations, then their own"),
    "repq+gptq": MethodName("RepQ-ViT; ridge regression, then rounding against second moments"),
    "minmax": MethodName("the range of the values", integer=False),
    "percentile": MethodName("a percentile of the values", integer=False),
    "ptq4vit": MethodName("PTQ4ViT: twin uniform quantizers, Hessian-guided", integer=False),
    "apq": MethodName("APQ-ViT: blockwise Hessian-guided, softmax maximum kept", integer=False),
}
"""What `--method` takes."""

DEFAULT_METHOD = "repq"


def methods_text(integer: bool | None = None) -> str:
    """Names and summaries as one text for help, all or those with or without an integer form."""
    return "; ".join(
        f"{name}: {method.summary}"
        for name, method in METHODS.items()
        if integer in (None, method.integer)
    )

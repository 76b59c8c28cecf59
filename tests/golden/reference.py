"""What the golden scripts share: small models of transformers, its tensors by the names on disk, float64."""

import contextlib
import platform
import sys
import types

import numpy
import safetensors
import torch
import transformers
from transformers import PreTrainedModel, Qwen2MoeForCausalLM

torch.set_num_threads(2)
torch.use_deterministic_algorithms(True)

REQUIREMENTS = "pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6"


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }


def build(fields: dict, generator: torch.Generator, family: type = Qwen2MoeForCausalLM) -> PreTrainedModel:
    """A model whose every part matters: no bias is 0, no norm is 1, and gradients are far from rounding errors."""
    config = family.config_class(**fields)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = family(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * values)
            elif name.endswith(("bias", "gate.weight", "shared_expert_gate.weight")):
                parameter.copy_(0.3 * values)
            elif "embed_tokens" in name:
                parameter.copy_(0.3 * values)
            else:
                parameter.copy_(0.2 * values)
    return model


def split_experts(name: str, tensor: torch.Tensor, mixtral: bool) -> dict[str, torch.Tensor]:
    """Tensors under the names on disk: transformers 5 keeps experts fused in memory and apart in files."""
    prefix, _, last = name.rpartition(".")
    if not prefix.endswith(".experts"):
        return {name.replace(".mlp.", ".block_sparse_moe.") if mixtral else name: tensor}
    if mixtral:
        parts = split_experts(name, tensor, False)
        old = {"mlp.": "block_sparse_moe.", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
        for ours, theirs in old.items():
            parts = {part.replace(ours, theirs): own for part, own in parts.items()}
        return parts
    parts = {}
    for expert, own in enumerate(tensor):
        if last == "down_proj":
            parts[f"{prefix}.{expert}.down_proj.weight"] = own
        else:
            gate, up = own.chunk(2)
            parts[f"{prefix}.{expert}.gate_proj.weight"] = gate
            parts[f"{prefix}.{expert}.up_proj.weight"] = up
    return parts


def by_name(model: torch.nn.Module, take) -> dict[str, torch.Tensor]:
    """`take(parameter)` of every parameter, copied, under the names on disk."""
    result = {}
    for name, parameter in model.named_parameters():
        result |= split_experts(name, take(parameter).detach(), model.config.model_type == "mixtral")
    return {name: tensor.clone().contiguous() for name, tensor in result.items()}


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """|a-b| / |b| in the 2-norm; 0 where both are 0, infinite where only b is."""
    difference = (actual.double() - expected.double()).norm().item()
    return 0.0 if difference == 0 else difference / (expected.double().norm().item() or 0.0 or float("nan"))


@contextlib.contextmanager
def in_float64(family: type = Qwen2MoeForCausalLM):
    """transformers upcasts to float32 in norms, softmax and loss; within this context it upcasts to float64."""
    modeling = sys.modules[family.__module__]
    original, to_float = modeling.torch, torch.Tensor.float
    precise = types.ModuleType("torch")
    precise.__getattr__ = lambda name: getattr(torch, name)
    precise.float32 = precise.float = torch.float64
    modeling.torch = precise
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        modeling.torch = original
        torch.Tensor.float = to_float


def router_margin(model: PreTrainedModel, batch: dict) -> float:
    """Smallest distance between the k-th and the next probability over layers and tokens that are no padding."""
    config = model.config
    experts = getattr(config, "num_experts", 1)
    if experts == 1 or config.num_experts_per_tok >= experts:
        return float("inf")
    with torch.no_grad():
        output = model(**batch, output_router_logits=True)
    mask = batch.get("attention_mask")
    margins = []
    for logits in output.router_logits:
        best = logits.softmax(-1).sort(-1, descending=True).values
        rows = best if mask is None else best[mask.reshape(-1).bool()]
        k = config.num_experts_per_tok
        margins.append((rows[:, k - 1] - rows[:, k]).min().item())
    return min(margins)


def draw_batch(config, generator, shape, padded: bool, few_targets: bool) -> dict:
    """Token rows; `padded` ends them at different lengths, `few_targets` leaves every fourth label."""
    rows, length = shape
    ids = torch.randint(0, config.vocab_size, shape, generator=generator)
    labels = ids.clone()
    if few_targets:
        labels[:, torch.arange(length) % 4 != 1] = -100
    batch = {"input_ids": ids, "labels": labels}
    if padded:
        lengths = torch.tensor([length - 3 * (row % 4) for row in range(rows)])
        mask = (torch.arange(length) < lengths[:, None]).long()
        batch["input_ids"] = torch.where(mask == 1, ids, config.eos_token_id or 0)
        batch["labels"] = torch.where(mask == 1, labels, -100)
        batch["attention_mask"] = mask
    return batch


def batch_with_margins(model, generator, shape, padded: bool, few_targets: bool, margin: float = 1e-3) -> dict:
    """The first batch drawn that leaves no router undecided."""
    for _ in range(1000):
        batch = draw_batch(model.config, generator, shape, padded, few_targets)
        if router_margin(model, batch) > margin:
            return batch
    raise RuntimeError("no batch with wide margins found")


def stored_batch(prefix: str, batch: dict) -> dict[str, torch.Tensor]:
    """A batch as the tests read it: labels shifted, so that position t holds the token it predicts."""
    labels = torch.full_like(batch["labels"], -100)
    labels[:, :-1] = batch["labels"][:, 1:]
    tensors = {f"{prefix}.inputIds": batch["input_ids"].int(), f"{prefix}.labels": labels.int()}
    if "attention_mask" in batch:
        tensors[f"{prefix}.valid"] = batch["attention_mask"].to(torch.uint8)
    return tensors

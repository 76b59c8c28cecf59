"""transformers' side of `npm run parity`; see parity.mjs.

    python parity.py draw FOLDER SEED COUNT CODE      random models of every family in turn, one folder each;
                                                      CODE is the folder of LLaMA-MoE's Python definition
    python parity.py compare MODELS.json LOGITS       loads every folder and compares logits with ours
"""

import json
import os
import pathlib
import random
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils.logging import disable_progress_bar

TOLERANCE = 1e-5


FAMILIES = ["qwen2_moe", "llama_moe", "mixtral", "olmoe", "qwen3_moe", "qwen2", "llama"]


def draw_config(rng: random.Random, family: str) -> dict:
    """A configuration within what both sides support."""
    head_dim = rng.choice([4, 6, 8, 16])
    groups = rng.choice([1, 2, 3])
    heads = groups * rng.choice([1, 2, 4])
    own_head = family not in ("olmoe", "llama_moe", "llama")
    natural = not own_head or rng.random() < 0.5
    experts = rng.choice([1, 2, 3, 4, 7, 8])
    layers = rng.randint(1, 4)
    width = rng.randint(8, 48)
    fields = {
        "vocab_size": rng.randint(20, 300),
        "hidden_size": heads * head_dim if natural else 8 * rng.randint(2, 8),
        **({} if natural else {"head_dim": head_dim}),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": rng.randint(8, 64),
        "tie_word_embeddings": rng.random() < 0.3,
        "rms_norm_eps": rng.choice([1e-6, 1e-5, 1e-3]),
        "rope_parameters": {"rope_type": "default", "rope_theta": rng.choice([100.0, 10000.0, 1000000.0])},
        "max_position_embeddings": rng.choice([32, 64, 4096]),
        "pad_token_id": rng.choice([None, 3]),
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    counts = {"num_experts": experts, "num_experts_per_tok": rng.randint(1, experts)}
    normalised = {"norm_topk_prob": rng.random() < 0.5}
    sparse = {
        "moe_intermediate_size": width,
        "decoder_sparse_step": rng.choice([1, 1, 2]),
        "mlp_only_layers": sorted(rng.sample(range(layers), rng.choice([0, 0, 1]))),
    }
    if family == "qwen2_moe":
        shared = {"shared_expert_intermediate_size": rng.randint(8, 64), "qkv_bias": rng.random() < 0.7}
        return fields | counts | normalised | sparse | shared
    if family == "qwen3_moe":
        return fields | counts | normalised | sparse | {"attention_bias": rng.random() < 0.3, "head_dim": head_dim}
    if family == "olmoe":
        return fields | counts | normalised | {"clip_qkv": rng.choice([None, 0.7, 1.0]), "router_aux_loss_coef": 0.0, "attention_bias": rng.random() < 0.3}
    if family == "mixtral":
        return fields | {"num_local_experts": experts, "num_experts_per_tok": counts["num_experts_per_tok"]}
    if family == "llama_moe":
        gate = {"num_selects": counts["num_experts_per_tok"], "score_scale_factor": rng.choice([1.0, 2.0, 4.0])}
        return fields | gate | {"num_experts": experts, "intermediate_size": width * experts}
    if family == "llama" and rng.random() < 0.5:
        scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
        fields["rope_parameters"] |= {"rope_type": "llama3"} | scaling
    return fields | ({"attention_bias": rng.random() < 0.3} if family == "llama" else {})


def new_model(family: str, fields: dict, code: str):
    if family == "llama_moe":
        load = lambda name: get_class_from_dynamic_module(name, code)  # noqa: E731
        config = load("configuration_llama_moe.LlamaMoEConfig")(**fields)
        return load("modeling_llama_moe.LlamaMoEForCausalLM")(config)
    return AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **fields))


def draw(folder: str, seed: str, count: str, code: str) -> None:
    print(f"Random models of seed {seed}:")
    for index in range(int(count)):
        rng = random.Random(f"{seed}/{index}")
        family = FAMILIES[index % len(FAMILIES)]
        fields = draw_config(rng, family)
        print(f"  {index} {family}", json.dumps(fields))
        torch.manual_seed(rng.getrandbits(63))
        model = new_model(family, fields, code)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                deviation = 0.2 if "norm" in name or name.endswith("bias") else parameter.shape[-1] ** -0.5
                parameter.copy_(float("norm" in name) + deviation * torch.randn_like(parameter))
        model.save_pretrained(pathlib.Path(folder) / f"{index:02}-{family}")


def compare(models: str, logits: str) -> None:
    ours = load_file(logits)
    print(f"\ntransformers {transformers.__version__}, torch {torch.__version__}, float32, tolerance {TOLERANCE:g}")
    print(f"{'model':<20}{'experts':>8}{'top-k':>6}{'tensors':>9}{'keys':>6}{'relative error':>16}")
    failures = 0
    for index, entry in enumerate(json.loads(pathlib.Path(models).read_text())):
        model, loading = AutoModelForCausalLM.from_pretrained(
            entry.get("written", entry["folder"]),
            trust_remote_code=True,
            dtype=torch.float32,
            attn_implementation="eager",
            # The default, grouped products, wants widths that are multiples of 16 bytes.
            experts_implementation="eager",
            output_loading_info=True,
        )
        wrong = {kind: sorted(map(str, names)) for kind, names in loading.items() if names}
        with torch.no_grad():
            expected = model.eval()(ours[f"{index}.inputIds"].long()).logits.double()
        error = ((ours[f"{index}.logits"].double() - expected).norm() / expected.norm()).item()
        good = not wrong and error <= TOLERANCE
        failures += not good
        first = lambda *names: next((n for n in (getattr(model.config, name, None) for name in names) if n), 1)  # noqa: E731
        experts, selected = first("num_experts", "num_local_experts"), first("num_experts_per_tok", "num_selects")
        print(
            f"{entry['name'][-19:]:<20}{experts:>8}{selected:>6}"
            f"{len(model.state_dict()):>9}{'wrong' if wrong else 'ok':>6}{error:>16.2e}{'' if good else '  FAILED'}"
        )
        for kind, names in wrong.items():
            print(f"  {kind}: {', '.join(names)}")
    if failures:
        sys.exit(f"{failures} models differ")
    print("All agree.")


disable_progress_bar()
transformers.logging.set_verbosity_error()
torch.set_num_threads(min(4, os.cpu_count() or 1))
{"draw": draw, "compare": compare}[sys.argv[1]](*sys.argv[2:])

# Copyright the authors of moe-disco. Apache License 2.0.
"""Configuration of LLaMA-MoE v1 for transformers; see modeling_llama_moe.py."""

from transformers import LlamaConfig


class LlamaMoEConfig(LlamaConfig):
    model_type = "llama_moe"

    def __init__(
        self,
        num_experts=16,
        num_selects=4,
        size_experts=None,
        score_scale_factor=1.0,
        gate_use_balance=True,
        gate_balance_loss_weight=0.01,
        gate_add_noise=True,
        gate_noise_epsilon=0.01,
        **kwargs,
    ):
        self.num_experts = num_experts
        self.num_selects = num_selects
        self.size_experts = size_experts
        self.score_scale_factor = score_scale_factor
        self.gate_use_balance = gate_use_balance
        self.gate_balance_loss_weight = gate_balance_loss_weight
        self.gate_add_noise = gate_add_noise
        self.gate_noise_epsilon = gate_noise_epsilon
        only = {
            "gate_type": "TopKBalancedNoisyGate",
            "gate_network": "mlp",
            "gate_use_softmax": True,
            "calculator_type": "UniversalCalculator",
            "multiply_gate_scores": True,
        }
        for key, value in only.items():
            if kwargs.setdefault(key, value) != value:
                raise ValueError(f"{key}={kwargs[key]!r} is not supported by this file, only {value!r}")
        super().__init__(**kwargs)

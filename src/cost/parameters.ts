/** Numbers of parameters by part, from a configuration alone: nothing is allocated. */
import type { ModelConfig } from '../model/config.js';
import {
  countParameters,
  type Parameter,
  type ParameterCount,
  parameterLayout,
} from '../model/parameters.js';

/** Parameters by part; `embedding` to `dense` add up to `total`. */
export interface ParameterParts extends ParameterCount {
  attention: number;
  norms: number;
  /** Shared experts with their gates. */
  sharedExperts: number;
  /** Feed-forward parts of layers without experts. */
  dense: number;
}

type Part = 'attention' | 'norms' | 'sharedExperts' | 'dense';

/** Part of a backbone parameter that is no table, by its Hugging Face name. */
function partOf({ name, role }: Parameter): Part | null {
  if (role !== 'backbone') return null;
  if (name.includes('.self_attn.')) return 'attention';
  if (name.includes('norm.')) return 'norms';
  if (name.includes('.shared_expert')) return 'sharedExperts';
  return name.includes('.mlp.') ? 'dense' : null;
}

/** Counts the parameters of a configuration by part. */
export function parameterParts(config: ModelConfig): ParameterParts {
  const parts = { attention: 0, norms: 0, sharedExperts: 0, dense: 0 };
  for (const parameter of parameterLayout(config).flatMap((block) => block.parameters)) {
    const part = partOf(parameter);
    if (part !== null) parts[part] += parameter.size;
  }
  return { ...countParameters(config), ...parts };
}

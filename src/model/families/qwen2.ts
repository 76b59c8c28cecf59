/** Qwen2, dense: biases on q, k and v. */
import { defineFamily, dense, denseNames } from './family.js';
import { decoderFields } from './fields.js';

export const qwen2 = defineFamily({
  modelType: 'qwen2',
  title: 'Qwen2',
  architecture: 'Qwen2ForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 32768 },
  },
  fixed: { use_sliding_window: [false] },
  // They count only with use_sliding_window, which is refused.
  withoutEffect: ['sliding_window', 'max_window_layers'],
  rope: { theta: 10_000 },
  ownHeadDim: true,
  derive: () => ({ ...dense, qkvBias: true }),
  write: () => ({ use_sliding_window: false }),
  names: denseNames,
});

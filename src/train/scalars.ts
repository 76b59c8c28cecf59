/** What TensorBoard shows of a training: the lines of metrics.jsonl as scalars. */

/** The lines' names and the tags they go by. */
const TAGS: Readonly<Record<string, string>> = {
  loss: 'train/loss',
  heldOutLoss: 'validation/loss',
  learningRate: 'train/learning_rate',
  gradNorm: 'train/gradient_norm',
  tokensPerSecond: 'speed/tokens_per_second',
  dollars: 'cost/dollars',
  balanceLoss: 'router/balance_loss',
};

/**
 * The scalars of one line of metrics.jsonl by tag. Of `expertTokens`, how many tokens each expert of each layer
 * took, the share of the layer's.
 */
export function scalarsOf(line: Readonly<Record<string, unknown>>): Record<string, number> {
  const scalars: Record<string, number> = {};
  for (const [name, tag] of Object.entries(TAGS)) {
    const value = line[name];
    if (typeof value === 'number') scalars[tag] = value;
  }
  const layers = (line.expertTokens ?? []) as readonly (readonly number[])[];
  layers.forEach((counts, layer) => {
    const all = Math.max(
      1,
      counts.reduce((sum, count) => sum + count, 0),
    );
    counts.forEach((count, expert) => {
      scalars[`router/layer_${layer}/expert_${expert}`] = count / all;
    });
  });
  return scalars;
}

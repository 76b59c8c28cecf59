/** The stage matrix for people. */
import type { Section } from '../../report/layout.js';
import type { LayerAffinity } from './affinity.js';
import type { StageMatrix } from './matrix.js';

const NAMES: Readonly<Record<string, string>> = {
  ensemble: 'ensemble of submodels (c-BTM)',
  merged: 'merged, before fine-tuning',
  finetuned: 'fine-tuned',
};

/** Losses by model and cluster, and expert affinity before and after fine-tuning. */
export function matrixSections(matrix: StageMatrix): Section[] {
  const { rows, documents, windows, split, temperature, tokenizer } = matrix;
  const clusters = documents.map((count, k) => `cluster ${k} (${count})`);
  const { window, stride } = windows;
  const moves = stride === window ? 'cut one after another' : `moving on by ${stride}`;
  return [
    {
      title: 'Every stage on every cluster',
      intro: `Mean loss in nats per token on the ${split} documents of all clusters and of each, which the partition's centroids assign.`,
      table: {
        head: ['model', 'all', 'perplexity', 'bits per byte', ...clusters],
        rows: rows.map(({ model, all, clusters: own }) => [
          NAMES[model] ?? model,
          all.loss.toFixed(4),
          all.perplexity.toFixed(2),
          all.bitsPerByte.toFixed(4),
          ...own.map((found) => found?.loss.toFixed(4) ?? '-'),
        ]),
      },
      notes: [
        `Each document by itself, in windows of ${window} tokens ${moves}; ${rows[0]!.all.targets.toLocaleString('en')} targets, padding excluded. Tokens are those of tokenizer ${tokenizer.sha256.slice(0, 12)}; only bits per byte compare across tokenizers.`,
        `The ensemble mixes the submodels' probabilities by softmax(-d²/${temperature}) of the distance of the whole document to the centroids: it knows the text that it predicts, as the partition does.`,
      ],
    },
    ...affinitySections(matrix),
  ];
}

function affinitySections({ affinity }: StageMatrix): Section[] {
  return affinity.map(({ model, layers }) => ({
    title: `Experts of ${NAMES[model] ?? model}`,
    table: {
      head: ['layer', 'NMI', 'entropy of load', 'dead', 'load of each expert', 'router weight by cluster'],
      rows: layers.map((layer, i) => [
        String(i),
        layer.information.toFixed(4),
        layer.entropy.toFixed(4),
        layer.dead.length === 0 ? 'none' : layer.dead.join(' '),
        percents(layer.load),
        clusterShares(layer),
      ]),
    },
    notes: [
      'NMI: normalised mutual information of cluster and expert over routed tokens, 0 where a token of any cluster goes anywhere. Router weight: mean probability of experts 0, 1, ... over the tokens of a cluster, in percent.',
    ],
  }));
}

function clusterShares({ shares }: LayerAffinity): string {
  return shares.map((row, k) => `${k}: ${row === null ? '-' : percents(row)}`).join(' | ');
}

/** Shares in percent; of many experts the four largest. */
function percents(values: readonly number[]): string {
  if (values.length <= 8) return values.map((value) => (100 * value).toFixed(0)).join(' ');
  const order = values.map((value, e) => ({ value, e })).sort((a, b) => b.value - a.value);
  const shown = order.slice(0, 4).map(({ value, e }) => `${e}:${(100 * value).toFixed(0)}`);
  return `${shown.join(' ')} ...`;
}

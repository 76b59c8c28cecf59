/**
 * Every stage of a run on every cluster's held-out documents: submodels (the E x E matrix), their ensemble, the merged
 * model before and after fine-tuning, the baseline; and what the routers have learnt.
 */
import { setImmediate } from 'node:timers/promises';
import { endTokenOf, openSplit } from '../../corpus/stage.js';
import { TextTokenizer } from '../../corpus/tokenizer.js';
import { NumericError, StoppedError } from '../../errors.js';
import { Decoder } from '../../model/decoder.js';
import { openModel } from '../../model/open.js';
import { Assigner } from '../../partition/assign.js';
import { submodelCount } from '../../recipe/check.js';
import type { StageRun } from '../../run/context.js';
import { requireDone, requireFiles } from '../../run/require.js';
import * as torch from '../../torch/index.js';
import { targetLosses } from '../loss.js';
import { expertAffinity, type LayerAffinity } from './affinity.js';
import { type HeldOutDocuments, readDocuments, type Windows, windowRows } from './documents.js';
import { clusterWeights, ensembleLosses } from './ensemble.js';
import { type Tally, tally } from './tally.js';

/** Tokens computed at once, as in the evaluation stage. */
const BATCH_TOKENS = 4096;

/** A model on all held-out documents and on those of each cluster. */
interface MatrixRow {
  model: string;
  all: Tally;
  /** null for a cluster without held-out documents. */
  clusters: (Tally | null)[];
}

export interface StageMatrix {
  format: 1;
  split: 'validation' | 'test';
  windows: Windows;
  tokenizer: { file: string; sha256: string };
  /** Held-out documents of each cluster. */
  documents: number[];
  /** Of the ensemble's weights softmax(-d^2 / temperature). */
  temperature: number;
  rows: MatrixRow[];
  /** Of the models with more than one expert, layer by layer. */
  affinity: { model: string; layers: LayerAffinity[] }[];
}

export interface MatrixRequest extends Windows {
  split: 'validation' | 'test';
  temperature: number;
}

/**
 * Measures all models of a run.
 *
 * @throws RequestError where a stage is not finished, and for a random partition, which assigns no held-out document;
 * StoppedError when asked to stop: nothing is kept; NumericError for a loss that is not finite
 */
export async function stageMatrix(context: StageRun, request: MatrixRequest): Promise<StageMatrix> {
  const { run, recipe, reporter, stop, device } = context;
  const { split, temperature, window, stride } = request;
  const experts = submodelCount(recipe);
  const submodels = Array.from({ length: experts }, (_, k) => `submodels/${k}`);
  const whole = ['merged', 'finetuned', 'baseline'];
  for (const stage of [...submodels, ...whole]) requireFiles(run, stage);
  torch.setDeterministic(device === 'cpu');
  const held = await readDocuments(context, split, { window, stride });
  const squares = await distancesOf(context, split);
  const clusters = squares.length / held.count;
  const labels = nearest(squares, clusters);
  const check = (): void => {
    if (!stop.requested) return;
    throw new StoppedError(`evaluation: stopped (${stop.reason}). The matrix begins anew.`, {
      hint: 'run the same command again',
    });
  };
  const rowOf = (model: string, losses: ArrayLike<number>): MatrixRow => ({
    model,
    all: tally(held, losses, labels, null)!,
    clusters: Array.from({ length: clusters }, (_, cluster) => tally(held, losses, labels, cluster)),
  });

  const rows: MatrixRow[] = [];
  const affinity: StageMatrix['affinity'] = [];
  const ofSubmodels: Float32Array[] = [];
  for (const stage of [...submodels, ...whole]) {
    reporter.progress({ stage: 'evaluation', note: `${stage} on the ${split} documents` });
    const store = openModel(run.stageFolder(stage), { device });
    try {
      const model = new Decoder(store);
      const losses = await documentLosses(model, held, check);
      const broken = losses.findIndex((loss) => !Number.isFinite(loss));
      if (broken >= 0) {
        throw new NumericError(`A held-out loss of ${stage} is not finite.`, {
          file: run.stageFolder(stage),
          expected: 'a finite number',
          found: String(losses[broken]),
        });
      }
      rows.push(rowOf(stage, losses));
      if (submodels.includes(stage)) ofSubmodels.push(losses);
      else {
        const layers = await expertAffinity(model, held, labels, clusters, check);
        if (layers.length > 0) affinity.push({ model: stage, layers });
      }
    } finally {
      store.dispose();
    }
    // Before the models that came of merging stands what there would be without.
    if (stage === submodels.at(-1) && ofSubmodels.length === clusters) {
      const weights = clusterWeights(squares, clusters, temperature);
      rows.push(rowOf('ensemble', ensembleLosses(held, ofSubmodels, weights)));
    }
  }
  const documents = Array.from(
    { length: clusters },
    (_, cluster) => labels.filter((k) => k === cluster).length,
  );
  const { tokenizer } = held;
  return { format: 1, split, windows: { window, stride }, tokenizer, documents, temperature, rows, affinity };
}

/** Squared distances of the documents of a split to the centroids: row-major [documents, E]. */
async function distancesOf(context: StageRun, split: 'validation' | 'test'): Promise<Float32Array> {
  const { run, device } = context;
  requireFiles(run, 'partition');
  const eos = endTokenOf(requireDone(run, 'corpus'));
  const tokenizer = await TextTokenizer.load(run.stage('corpus').path('tokenizer.json'), eos);
  const assigner = await Assigner.open(run.stageFolder('partition'), tokenizer, { device });
  try {
    const store = openSplit(context, split);
    try {
      return await assigner.squaredDistances(store);
    } finally {
      store.close();
    }
  } finally {
    assigner.dispose();
  }
}

function nearest(squares: Float32Array, clusters: number): Int32Array {
  return Int32Array.from({ length: squares.length / clusters }, (_, document) => {
    const own = squares.subarray(document * clusters, (document + 1) * clusters);
    return own.indexOf(own.reduce((least, square) => Math.min(least, square), Number.POSITIVE_INFINITY));
  });
}

/** Loss of every target of all documents. */
async function documentLosses(
  model: Decoder,
  held: HeldOutDocuments,
  onBatch: () => void,
): Promise<Float32Array> {
  const total = held.targets.reduce((sum, count) => sum + count, 0);
  const losses = new Float32Array(total);
  const rows = Math.max(1, Math.floor(BATCH_TOKENS / held.windows.window));
  for (let first = 0; first < held.places.length; first += rows) {
    onBatch();
    const batch = windowRows(held, held.places.slice(first, first + rows));
    const found = targetLosses(model, batch);
    batch.at.forEach((target, i) => {
      if (target >= 0) losses[target] = found[i]!;
    });
    await setImmediate();
  }
  return losses;
}

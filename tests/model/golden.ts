/** Reads what the scripts in tests/golden wrote of models; see tests/golden/README.md. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { openWeights, readConfig } from '../../src/formats/hf-folder.js';
import { SafetensorsReader } from '../../src/formats/safetensors.js';
import type { TokenRows } from '../../src/model/batch.js';
import { type ModelConfig, parseModelConfig } from '../../src/model/config.js';
import { ParameterStore, type StoreOptions } from '../../src/model/store.js';
import { loadTensors } from '../../src/model/store-files.js';

const root = fileURLToPath(new URL('../golden/model/', import.meta.url));

/** Names of the cases: one folder each. */
export const goldenCases = readdirSync(root);

const recordSchema = z.looseObject({
  loss: z.object({ crossEntropy: z.number(), total: z.number(), balance: z.number() }),
  adamw: z.object({
    learningRate: z.number(),
    beta1: z.number(),
    beta2: z.number(),
    epsilon: z.number(),
    weightDecay: z.number(),
    clipNorm: z.number(),
    losses: z.array(z.number()),
    gradientNorms: z.array(z.number()),
  }),
});

export type GoldenRecord = z.infer<typeof recordSchema>;

/** The folder of a case: its weights, batches and expected tensors. */
export class GoldenTensors {
  readonly config: ModelConfig;
  readonly #tensors: SafetensorsReader;

  constructor(readonly folder: string) {
    this.config = parseModelConfig(readConfig(folder), `${folder}/config.json`);
    this.#tensors = SafetensorsReader.open(`${folder}/expected.safetensors`);
  }

  /** A store with the weights of the case. */
  store(fields: Partial<ModelConfig> = {}, options: StoreOptions = {}): ParameterStore {
    const store = new ParameterStore({ ...this.config, ...fields }, { training: true, ...options });
    const weights = openWeights(this.folder);
    loadTensors(store, weights, this.folder);
    weights.close();
    return store;
  }

  /** Names of the expected tensors that begin with `prefix`, without it. */
  names(prefix: string): string[] {
    const names = this.#tensors.names.filter((name) => name.startsWith(prefix));
    return names.map((name) => name.slice(prefix.length));
  }

  has(name: string): boolean {
    return this.#tensors.names.includes(name);
  }

  /** An expected float32 tensor. */
  floats(name: string): Float32Array {
    return new Float32Array(this.#tensors.read(name).slice().buffer);
  }

  /** Batch 0, and where there are more, 1 or 2. */
  batch(step: number): TokenRows {
    return readRows(this.#tensors, `batch.${step}`);
  }

  close(): void {
    this.#tensors.close();
  }
}

/** A case of make_model.py. */
export class GoldenCase extends GoldenTensors {
  readonly record: GoldenRecord;

  constructor(name: string) {
    super(`${root}${name}`);
    this.record = readJson(`${this.folder}/expected.json`, recordSchema);
  }
}

/** The token rows stored as `prefix`.inputIds, .labels and .valid. */
export function readRows(file: SafetensorsReader, prefix: string): TokenRows {
  const integers = (name: string): Int32Array =>
    new Int32Array(file.read(`${prefix}.${name}`).slice().buffer);
  const [rows = 0, sequenceLength = 0] = file.info(`${prefix}.inputIds`).shape;
  const labels = integers('labels');
  const valid = file.names.includes(`${prefix}.valid`) ? file.read(`${prefix}.valid`).slice() : null;
  return {
    inputIds: integers('inputIds'),
    labels,
    valid,
    rows,
    sequenceLength,
    tokens: valid ? valid.filter((value) => value === 1).length : labels.length,
    targets: labels.filter((label) => label >= 0).length,
  };
}

/** |a - b| / |b| in the 2-norm; 0 where a = b, infinite where only b is 0. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} numbers, not ${expected.length}`);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}

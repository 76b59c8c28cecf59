/**
 * Where each tensor of a new model comes from when it does not start from scratch: which tensor of a folder and
 * which of its rows and columns, the seed, or zeros. Names and shapes only; nothing is read.
 */
import { isSparseLayer, type ModelConfig } from '../model/config.js';
import { allParameters } from '../model/model-folder.js';
import type { Parameter } from '../model/parameters.js';

/** `length` rows or columns from `start` on. */
interface Range {
  start: number;
  length: number;
}

/** What one tensor is made of. */
export type Origin =
  | {
      from: 'folder';
      /** The folder's tensor. */
      parameter: Parameter;
      /** What is taken of it, dimension by dimension; none: all. */
      select: readonly { dimension: number; ranges: readonly Range[] }[];
    }
  | { from: 'seed' }
  | { from: 'zeros' };

/** The origin of each tensor of the new model, or null where the folder has none that fits. */
export type Origins = (parameter: Parameter) => Origin | null;

/** Parameters of a model by canonical name and expert. */
export class ParameterIndex {
  readonly #byPart: ReadonlyMap<string, Parameter>;

  constructor(config: ModelConfig) {
    this.#byPart = new Map(allParameters(config).map((one) => [`${one.part} ${one.expert}`, one]));
  }

  /** The parameter of this canonical name, of this expert where it is one's. */
  find(part: string, expert: number | null): Parameter | undefined {
    return this.#byPart.get(`${part} ${expert}`);
  }
}

/**
 * From a model of the same family: the backbone as it is, the chosen experts, and the rows that the router has for
 * them.
 *
 * @param chosen the folder's numbers of the new experts 0, 1, ... of a layer
 */
export function fromFolder(source: ModelConfig, chosen: (layer: number) => readonly number[]): Origins {
  const index = new ParameterIndex(source);
  return ({ part, role, layer, expert, shape }) => {
    if (role === 'expert') return whole(index.find(part, chosen(layer!)[expert!]!), shape);
    const parameter = index.find(part, null);
    if (role !== 'router' || parameter === undefined) return whole(parameter ?? tiedHead(index, part), shape);
    const ranges = chosen(layer!).map((start) => ({ start, length: 1 }));
    // The second layer of a noisy gate has a row and a column for each expert, every other tensor a row.
    const dimensions = part.endsWith('.mlp.gate.gate_network.2.weight') ? [0, 1] : [0];
    const size = parameter.shape.map((full, d) => (dimensions.includes(d) ? ranges.length : full));
    if (size.join() !== shape.join()) return null;
    return { from: 'folder', parameter, select: dimensions.map((dimension) => ({ dimension, ranges })) };
  };
}

/**
 * From a dense model: every expert is a copy of its feed-forward part, or as many neurons of it as the expert is
 * wide; router and shared expert come from the seed, but for the shared expert's down projection: zeros, so that it
 * adds nothing to what the experts compute until it is trained.
 *
 * @param neurons first: every expert takes the first ones; spread: expert k those from k times its width on, from the
 * beginning again after the last
 */
export function fromDense(source: ModelConfig, target: ModelConfig, neurons: 'first' | 'spread'): Origins {
  const index = new ParameterIndex(source);
  const [all, width] = [source.moeIntermediateSize, target.moeIntermediateSize];
  return ({ part, role, layer, expert, shape }) => {
    if (role === 'router') return { from: 'seed' };
    if (part.endsWith('.mlp.shared_expert.down_proj.weight')) return { from: 'zeros' };
    if (part.includes('.mlp.shared_expert')) return { from: 'seed' };
    if (role === 'expert') {
      const parameter = index.find(part, 0);
      if (parameter === undefined || width === all) return whole(parameter, shape);
      const first = neurons === 'spread' ? (expert! * width) % all : 0;
      const dimension = part.endsWith('down_proj.weight') ? 1 : 0;
      return { from: 'folder', parameter, select: [{ dimension, ranges: around(first, width, all) }] };
    }
    const plain = layer !== null && !isSparseLayer(target, layer) && part.includes('.mlp.');
    const parameter = plain ? index.find(part.replace('.mlp.', '.mlp.experts.'), 0) : index.find(part, null);
    return whole(parameter ?? tiedHead(index, part), shape);
  };
}

/** A tensor as it is, where its shape fits. */
function whole(parameter: Parameter | undefined, shape: readonly number[]): Origin | null {
  const fits = parameter?.shape.join() === shape.join();
  return parameter !== undefined && fits ? { from: 'folder', parameter, select: [] } : null;
}

/** A head that shares the folder's embedding begins as a copy of it. */
function tiedHead(index: ParameterIndex, part: string): Parameter | undefined {
  return part === 'lm_head.weight' ? index.find('model.embed_tokens.weight', null) : undefined;
}

/** `length` places from `start` on in a ring of `size`. */
function around(start: number, length: number, size: number): Range[] {
  const head = Math.min(length, size - start);
  return head === length
    ? [{ start, length }]
    : [
        { start, length: head },
        { start: 0, length: length - head },
      ];
}

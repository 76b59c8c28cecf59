/**
 * Initial weights: a pure function of (seed, canonical name with the number of the expert, element number), the same bits on
 * every machine, so that each worker makes the same backbone and its own expert with no file to ship.
 */
import { createHash } from 'node:crypto';
import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ModelConfig } from './config.js';
import { numbered, type Parameter } from './parameters.js';
import type { ParameterStore } from './store.js';

export interface InitialWeights {
  /** Of the recipe. */
  seed: number;
  /**
   * For a store with one expert: which expert of the whole model it is. Its weights and its router row are then
   * those of that expert.
   */
  expert?: number;
}

/** Key of a tensor's stream: the first 8 bytes of SHA-256 of `seed NUL name`. */
export function initialKey(seed: number, name: string): Uint8Array {
  return createHash('sha256').update(`${seed}\0${name}`, 'utf8').digest().subarray(0, 8);
}

/**
 * Fills every parameter: normal(0, initializer_range) for matrices, 0 for biases, 1 for norms.
 *
 * @throws RangeError when `expert` is given for a store with several experts
 */
export function fillInitialWeights(store: ParameterStore, request: InitialWeights): void {
  if (request.expert !== undefined && store.config.numExperts !== 1) {
    throw new RangeError('only a model with one expert can be that of one expert');
  }
  for (const parameter of store.parameters) {
    torch.scope(() =>
      torch.noGrad(() => fill(store.parameter(parameter.name), parameter, store.config, request)),
    );
  }
}

/** The initial values of one parameter of the whole model, on the CPU. The caller frees them. */
export function initialTensor(
  parameter: Parameter,
  config: ModelConfig,
  { seed, dtype }: { seed: number; dtype: DType },
): Tensor {
  const tensor = torch.zeros([...parameter.shape], { dtype });
  fill(tensor, parameter, config, { seed });
  return tensor;
}

function fill(
  target: Tensor,
  parameter: Parameter,
  { initializerRange }: ModelConfig,
  { seed, expert }: InitialWeights,
): void {
  if (parameter.init !== 'normal') {
    target.fill_(parameter.init === 'ones' ? 1 : 0);
    return;
  }
  const own = parameter.role === 'expert' ? (expert ?? parameter.expert) : null;
  const name = numbered(parameter.part, own);
  // Element numbers count from the router's first row in the whole model.
  const row = expert !== undefined && parameter.role === 'router' ? expert : 0;
  draw(target, initialKey(seed, name), initializerRange, row);
}

/** Writes rows `firstRow`, ... of a stream into `target`. */
function draw(target: Tensor, key: Uint8Array, deviation: number, firstRow: number): void {
  if (firstRow === 0 && target.device === 'cpu') {
    torch.initNormal_(target, key, 0, deviation);
    return;
  }
  const [rows = 1, ...rest] = target.shape;
  const values = torch.zeros([firstRow + rows, ...rest], { dtype: target.dtype });
  torch.initNormal_(values, key, 0, deviation);
  target.copy_(values.narrow(0, firstRow, rows));
}

/**
 * The parameter store: one object owns weights, gradients and moments of a model, contiguous block by block.
 *
 * Hugging Face names, the tensors that operators read and the gradients that autograd fills are all views of a
 * block's flat tensors, so that clipping, AdamW, averaging and hashing walk a few long runs of memory.
 *
 * Create a store outside of any torch.scope: it lives until `dispose`.
 */

import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ModelConfig } from './config.js';
import { type BlockLayout, elementCount, type Parameter, parameterLayout } from './parameters.js';

export interface StoreOptions {
  /** float64 is for tests. */
  dtype?: 'float32' | 'bfloat16' | 'float64';
  /** `cpu` or `cuda:N`. */
  device?: string;
  /** Whether gradients and moments are kept. */
  training?: boolean;
}

/** One block's memory. Gradients and moments cover the trained parameters, which come first. */
export interface BlockStorage {
  readonly layout: BlockLayout;
  /** [size] */
  readonly weights: Tensor;
  /** [trainedSize]: the first part of `weights`. */
  readonly trained: Tensor;
  /** [trainedSize] each */
  readonly training: { gradients: Tensor; firstMoments: Tensor; secondMoments: Tensor } | null;
  /** Leaves by compute tensor's name; their `.grad` are views of `gradients`. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** The runs of memory that a parameter has a part in. */
export type Kind = 'weights' | 'gradients' | 'firstMoments' | 'secondMoments';

export class ParameterStore {
  readonly blocks: readonly BlockStorage[];
  readonly dtype: DType;
  readonly device: string;
  /** Optimizer steps that the moments have seen. */
  step = 0;
  readonly #places: ReadonlyMap<string, { block: BlockStorage; parameter: Parameter }>;

  constructor(
    readonly config: ModelConfig,
    options: StoreOptions = {},
  ) {
    this.dtype = options.dtype ?? 'float32';
    this.device = options.device ?? 'cpu';
    const { dtype, device } = this;
    this.blocks = parameterLayout(config).map((layout) =>
      allocate(layout, options.training ?? false, { dtype, device }),
    );
    this.#places = new Map(
      this.blocks.flatMap((block) =>
        block.layout.parameters.map((parameter) => [parameter.name, { block, parameter }] as const),
      ),
    );
  }

  /** Whether gradients and moments are kept. */
  get training(): boolean {
    return this.blocks[0]?.training != null;
  }

  /** Parameters in the order of the blocks. */
  get parameters(): Parameter[] {
    return [...this.#places.values()].map((place) => place.parameter);
  }

  /** What is known of a parameter. Throws RangeError when there is none of this name. */
  describe(name: string): Parameter {
    return this.#place(name).parameter;
  }

  /** A parameter by its Hugging Face name: a view, which the caller frees. */
  parameter(name: string): Tensor {
    return this.view('weights', name)!;
  }

  /** Its gradient: a view, which the caller frees; null for what is not trained. */
  gradient(name: string): Tensor | null {
    return this.view('gradients', name);
  }

  /** A view of a parameter's part of one kind of memory; null where there is none. */
  view(kind: Kind, name: string): Tensor | null {
    const { block, parameter } = this.#place(name);
    if (kind !== 'weights' && !parameter.trained) return null;
    const flat = kind === 'weights' ? block.weights : block.training?.[kind];
    return flat ? viewOf(flat, parameter.offset, parameter.shape) : null;
  }

  /** Sets every gradient to 0. */
  zeroGrad(): void {
    torch.scope(() => {
      for (const block of this.blocks) block.training?.gradients.zero_();
    });
  }

  /** Calls `visit` for every block in order, each within a scope of its own. */
  forEachBlock(visit: (block: BlockStorage, index: number) => void): void {
    this.blocks.forEach((block, index) => {
      torch.scope(() => visit(block, index));
    });
  }

  /** Frees everything. */
  dispose(): void {
    for (const block of this.blocks) {
      for (const leaf of Object.values(block.tensors)) leaf.dispose();
      for (const flat of Object.values(block.training ?? {})) flat.dispose();
      block.trained.dispose();
      block.weights.dispose();
    }
  }

  #place(name: string): { block: BlockStorage; parameter: Parameter } {
    const place = this.#places.get(name);
    if (!place) throw new RangeError(`the model has no parameter ${name}`);
    return place;
  }
}

/** The flat tensors of one block and the leaves that lie in them. */
function allocate(
  layout: BlockLayout,
  training: boolean,
  options: { dtype: DType; device: string },
): BlockStorage {
  return torch.scope(() => {
    const weights = torch.zeros([layout.size], options);
    const zeros = (): Tensor => torch.zeros([layout.trainedSize], options);
    const kept = training ? { gradients: zeros(), firstMoments: zeros(), secondMoments: zeros() } : null;
    const tensors: Record<string, Tensor> = {};
    for (const { name, shape, offset, trained } of layout.tensors) {
      const leaf = viewOf(weights, offset, shape);
      tensors[name] = leaf;
      if (!kept || !trained) continue;
      leaf.requiresGrad_();
      leaf.grad = viewOf(kept.gradients, offset, shape);
    }
    return { layout, weights, trained: weights.narrow(0, 0, layout.trainedSize), training: kept, tensors };
  });
}

/** A detached view of `shape` at `offset` elements of a flat tensor; shares its memory. */
function viewOf(flat: Tensor, offset: number, shape: readonly number[]): Tensor {
  return torch.scope(() =>
    flat
      .detach()
      .narrow(0, offset, elementCount(shape))
      .view([...shape]),
  );
}

/** A compute tensor of a block by name. Throws RangeError when the block has none. */
export function tensorOf(block: BlockStorage, name: string): Tensor {
  const tensor = block.tensors[name];
  if (!tensor) throw new RangeError(`the ${block.layout.kind} block has no tensor ${name}`);
  return tensor;
}

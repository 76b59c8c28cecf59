/** From handles to Tensor objects. Apart from tensor.ts, so that the generated methods can be its base class. */
import { native } from './native.js';
import type { Tensor } from './tensor.js';

let TensorClass: (new (handle: number) => Tensor) | undefined;

// Tensors made outside every scope are freed with their JavaScript object at the latest.
const registry = new FinalizationRegistry<number>((handle) => native.free(handle));
let depth = 0;

/** Called once by tensor.ts. */
export function setTensorClass(value: new (handle: number) => Tensor): void {
  TensorClass = value;
}

/** Called at the beginning (+1) and end (-1) of a scope. */
export function changeDepth(change: 1 | -1): number {
  depth += change;
  return depth;
}

/** Lets the garbage collector free the tensor in the end. */
export function collect(tensor: Tensor): void {
  registry.register(tensor, tensor.handle);
}

/** The Tensor of a handle that the addon has just made. */
export function wrap(handle: number): Tensor {
  const made = new TensorClass!(handle);
  if (depth === 0) collect(made);
  return made;
}

/** The Tensors of several handles. */
export function wrapAll(handles: readonly number[]): Tensor[] {
  return handles.map(wrap);
}

/** Base of Tensor: only the handle. */
export class TensorHandle {
  /** Slot and generation of the tensor in the addon's table. */
  readonly handle: number;
  constructor(handle: number) {
    this.handle = handle;
  }
}

/** Scopes, autograd and modes. */
import { native } from './native.js';
import { Tensor } from './tensor.js';
import { changeDepth, collect, wrap } from './wrap.js';

/** A value whose tensors outlive a scope: tensors, or arrays and plain objects of them, nested. */
function tensorsOf(value: unknown, found: Tensor[] = []): Tensor[] {
  if (value instanceof Tensor) {
    found.push(value);
  } else if (Array.isArray(value)) {
    for (const item of value) tensorsOf(item, found);
  } else if (
    value !== null &&
    typeof value === 'object' &&
    Object.getPrototypeOf(value) === Object.prototype
  ) {
    for (const item of Object.values(value)) tensorsOf(item, found);
  }
  return found;
}

/**
 * Runs `body` and frees every tensor made in it, except those in what it returns, which belong to the enclosing
 * scope. Autograd keeps what it saved for backward by itself.
 *
 * @throws TypeError when `body` is asynchronous: other code would run inside its scope
 */
export function scope<T>(body: () => T): T {
  native.beginScope();
  changeDepth(1);
  let kept: Tensor[] = [];
  try {
    const result = body();
    if (result instanceof Promise) throw new TypeError('scope: the body must not be asynchronous');
    kept = tensorsOf(result);
    return result;
  } finally {
    native.endScope(kept.map((tensor) => tensor.handle));
    if (changeDepth(-1) === 0) kept.forEach(collect);
  }
}

/** Runs `body` without recording for autograd. */
export function noGrad<T>(body: () => T): T {
  const before = native.getGradMode();
  native.setGradMode(false);
  try {
    return body();
  } finally {
    native.setGradMode(before);
  }
}

/**
 * Backward from `outputs`, accumulating into the `.grad` of leaves.
 *
 * @param gradients one per output with its shape; may be left out where every output has one element
 */
export function backward(
  outputs: readonly Tensor[],
  gradients: readonly Tensor[] | null = null,
  options: { retainGraph?: boolean } = {},
): void {
  native.backward(
    outputs.map((tensor) => tensor.handle),
    gradients === null ? null : gradients.map((tensor) => tensor.handle),
    options.retainGraph ?? false,
  );
}

/**
 * The gradients of `outputs` with respect to `inputs`, which are not accumulated anywhere.
 *
 * @returns one per input with its shape, null where the input was not used and `allowUnused` is set
 */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  gradients: readonly Tensor[] | null = null,
  options: { retainGraph?: boolean; allowUnused?: boolean } = {},
): (Tensor | null)[] {
  return native
    .grad(
      outputs.map((tensor) => tensor.handle),
      inputs.map((tensor) => tensor.handle),
      gradients === null ? null : gradients.map((tensor) => tensor.handle),
      options.retainGraph ?? false,
      options.allowUnused ?? false,
    )
    .map((handle) => (handle === 0 ? null : wrap(handle)));
}

/**
 * Tensors: PyTorch's operators and runtime, from libtorch. Knows nothing of models.
 *
 * `import * as torch from './torch/index.js'` reads like PyTorch: `torch.cat([a, b])`, `x.matmul(y)`,
 * `torch.noGrad(() => ...)`. Experimental as a public interface.
 */
export { bytesPerElement, type DType } from './dtype.js';
export * from './errors.js';
export * from './generated/functions.js';
export * from './runtime.js';
export { backward, grad, noGrad, scope } from './scope.js';
export { fromBytes, Tensor, type TypedArray, tensor } from './tensor.js';

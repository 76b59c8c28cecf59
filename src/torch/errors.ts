/** Errors of the tensor engine. C++ exceptions arrive as these, with the operator and its arguments' shapes. */
import { EngineError, EnvironmentError } from '../errors.js';

/** An operator or runtime function of libtorch refused or failed. */
export class TorchError extends EngineError {
  /** The operator and the shapes of its tensor arguments, or the empty string for a runtime function. */
  readonly operator: string;
  constructor(message: string, operator: string) {
    super(operator === '' ? message : `${operator}: ${message}`);
    this.operator = operator;
  }
}

/** An index or dimension is out of range. */
export class TorchIndexError extends TorchError {}
/** An argument is of the wrong type, missing, or one too many. */
export class TorchTypeError extends TorchError {}
/** A value is not allowed, or a tensor was freed already. */
export class TorchValueError extends TorchError {}
/** The operator has no implementation for this device or dtype. */
export class TorchNotImplementedError extends TorchError {}

/** The device or the machine has no memory left: exit 74. */
export class OutOfMemoryError extends EnvironmentError {}

/** Makes the error for a C++ exception of kind `kind`; called from the addon. */
export function makeError(kind: string, message: string, operator: string): Error {
  switch (kind) {
    case 'Index':
      return new TorchIndexError(message, operator);
    case 'Type':
      return new TorchTypeError(message, operator);
    case 'Value':
      return new TorchValueError(message, operator);
    case 'NotImplemented':
      return new TorchNotImplementedError(message, operator);
    case 'OutOfMemory':
      return new OutOfMemoryError(operator === '' ? message : `${operator}: ${message}`, {
        hint: 'use a smaller micro-batch, a smaller model or a device with more memory',
      });
    default:
      return new TorchError(message, operator);
  }
}

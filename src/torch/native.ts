/**
 * The addon's functions, typed, and the only place that loads it. Importing this file loads libtorch into the
 * process: only workers do.
 */

import { createRequire } from 'node:module';
import { librariesOf, locateEngine } from '../setup/index.js';
import { makeError } from './errors.js';

interface Loader {
  load(path: string): void;
}

/** The native surface. Handles are numbers; 0 stands for no tensor. Documented in native/. */
export interface Native {
  setErrorFactory(factory: (kind: string, message: string, operator: string) => Error): void;
  argumentBuffer(): Float64Array;
  internString(text: string): number;
  registerOperator(name: string, overload: string): number;
  operatorSchema(name: string, overload: string): string | null;
  callTensor(operator: number, count: number): number;
  callTensors(operator: number, count: number): number;
  callVoid(operator: number, count: number): void;
  beginScope(): void;
  endScope(keep: number[]): void;
  scopeDepth(): number;
  free(handle: number): boolean;
  liveTensors(): number;
  backward(outputs: number[], gradients: number[] | null, retainGraph: boolean): void;
  grad(
    outputs: number[],
    inputs: number[],
    gradients: number[] | null,
    retainGraph: boolean,
    allowUnused: boolean,
  ): number[];
  getGrad(handle: number): number;
  setGrad(handle: number, gradient: number | null): void;
  requiresGrad(handle: number): boolean;
  getGradMode(): boolean;
  setGradMode(on: boolean): void;
  manualSeed(seed: number): void;
  getRngState(device: string): number;
  setRngState(device: string, state: number): void;
  getNumThreads(): number;
  setNumThreads(count: number): void;
  getDeterministic(): boolean;
  setDeterministic(on: boolean): void;
  setMatmulPrecision(precision: string): void;
  setSdpBackends(flash: boolean, memoryEfficient: boolean, math: boolean): void;
  acceleratorName(): string;
  acceleratorCount(): number;
  synchronize(device: string): void;
  memoryStatistics(device: string): number[];
  resetPeakMemory(device: string): void;
  emptyCache(device: string): void;
  openLibrary(path: string): void;
  dieWithParent(parent: number): void;
  version(): string;
  sizes(handle: number): number[];
  scalarType(handle: number): number;
  device(handle: number): string;
  isContiguous(handle: number): boolean;
  item(handle: number): number;
  fromBytes(bytes: ArrayBufferView, shape: readonly number[], scalarType: number): number;
  readBytes(handle: number, offset: number, into: Uint8Array): void;
  writeBytes(handle: number, offset: number, from: Uint8Array): void;
  initNormal(handle: number, key: Uint8Array, mean: number, std: number): void;
}

function loadNative(): Native {
  const engine = locateEngine();
  // Threads that spin while they wait make a step many times slower where cores are shared.
  process.env.OMP_WAIT_POLICY ??= 'PASSIVE';
  const require = createRequire(import.meta.url);
  const loader = require(engine.loaderPath) as Loader;
  for (const library of librariesOf(engine.torchFolder)) loader.load(library);
  const native = require(engine.addonPath) as Native;
  native.setErrorFactory(makeError);
  return native;
}

export const native: Native = loadNative();

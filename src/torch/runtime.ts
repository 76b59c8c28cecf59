/** The library as a whole: random numbers, threads, determinism, devices, memory, versions. */
import { native } from './native.js';
import type { Tensor } from './tensor.js';
import { wrap } from './wrap.js';

/** Seeds the global generators of every device. */
export function manualSeed(seed: number): void {
  native.manualSeed(seed);
}

/** The state of a device's global generator: uint8 [n]. */
export function getRngState(device = 'cpu'): Tensor {
  return wrap(native.getRngState(device));
}

/** Restores a state of {@link getRngState}. */
export function setRngState(state: Tensor, device = 'cpu'): void {
  native.setRngState(device, state.handle);
}

/** Threads that one operator uses on the CPU. */
export function getNumThreads(): number {
  return native.getNumThreads();
}

/** Sets the threads of one operator on the CPU. Results depend on it in the last bits. */
export function setNumThreads(count: number): void {
  native.setNumThreads(count);
}

/** Whether only deterministic algorithms are used. */
export function isDeterministic(): boolean {
  return native.getDeterministic();
}

/** Uses only deterministic algorithms; an operator that has none throws. */
export function setDeterministic(on: boolean): void {
  native.setDeterministic(on);
}

/** `highest`: float32 products in float32; `high` and `medium` may use TF32 and bfloat16 where the device can. */
export function setMatmulPrecision(precision: 'highest' | 'high' | 'medium'): void {
  native.setMatmulPrecision(precision);
}

/** Which implementations scaledDotProductAttention may choose from. */
export function setSdpBackends(choice: { flash: boolean; memoryEfficient: boolean; math: boolean }): void {
  native.setSdpBackends(choice.flash, choice.memoryEfficient, choice.math);
}

/** The accelerator of this machine (`cuda`, `mps`, ...) and how many there are; null without one. */
export function accelerator(): { type: string; count: number } | null {
  const type = native.acceleratorName();
  return type === '' ? null : { type, count: native.acceleratorCount() };
}

/** Waits for everything queued on a device. Returns at once for the CPU. */
export function synchronize(device: string): void {
  native.synchronize(device);
}

/** Bytes of an accelerator's memory, by its allocator's own statistics. Throws for the CPU. */
export interface MemoryStatistics {
  allocated: number;
  peakAllocated: number;
  reserved: number;
  peakReserved: number;
}

export function memoryStatistics(device: string): MemoryStatistics {
  const [allocated = 0, peakAllocated = 0, reserved = 0, peakReserved = 0] = native.memoryStatistics(device);
  return { allocated, peakAllocated, reserved, peakReserved };
}

/** Sets the peaks of {@link memoryStatistics} to the present values. */
export function resetPeakMemory(device: string): void {
  native.resetPeakMemory(device);
}

/** Returns memory that an accelerator's allocator holds but does not use. */
export function emptyCache(device: string): void {
  native.emptyCache(device);
}

/** Tensors alive in this process. Every test ends with as many as it began. */
export function liveTensors(): number {
  return native.liveTensors();
}

/** Loads a shared object that registers operators. */
export function openLibrary(path: string): void {
  native.openLibrary(path);
}

/** Asks the kernel to end this process when its parent `parent` goes (Linux; elsewhere nothing happens). */
export function dieWithParent(parent: number): void {
  native.dieWithParent(parent);
}

/** The version of libtorch that the addon was built against: `2.15.0`. */
export function version(): string {
  return native.version();
}

/**
 * Fills a contiguous CPU tensor with mean + std * z_i, where z_i is a pure function of (key, i): see
 * native/initial_weights.cc. The same bits on every processor.
 *
 * @param key 8 bytes
 */
export function initNormal_(tensor: Tensor, key: Uint8Array, mean: number, std: number): void {
  native.initNormal(tensor.handle, key, mean, std);
}

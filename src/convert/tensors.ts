/** Tensors on their way from one folder to another: copied or rounded piece by piece, never whole in memory. */
import { DataError } from '../errors.js';
import { isFloatType, makeRounder, type TargetType } from '../formats/round.js';
import { DTYPE_BYTES, sourceBytes, type TensorSource } from '../formats/safetensors.js';
import type { Weights } from '../formats/weights.js';
import { allParameters, type ExpertLayout, fusedTensors, type ModelFolder } from '../model/model-folder.js';
import type { Work } from './work.js';

/** A tensor as it is, under another name where one is given. */
export function copySource(weights: Weights, name: string, work: Work, as = name): TensorSource {
  const { dtype, shape } = weights.info(name);
  return {
    name: as,
    dtype,
    shape: [...shape],
    write: (sink) =>
      weights.stream(name, (piece) => {
        work.add(piece.length);
        sink(piece);
      }),
  };
}

/**
 * A tensor in another type, each number rounded to the nearest, ties to even.
 * @throws DataError, when written, for a number that is too large for the type
 */
function convertedSource(weights: Weights, name: string, to: TargetType, work: Work): TensorSource {
  const { dtype, shape } = weights.info(name);
  if (!isFloatType(dtype)) throw new RangeError(`${name} is kept as ${dtype}`);
  if (dtype === to) return copySource(weights, name, work);
  return {
    name,
    dtype: to,
    shape: [...shape],
    write: (sink) => {
      let before = 0;
      const round = makeRounder(dtype, to, (index) => {
        throw new DataError(`A number is too large for ${to}.`, {
          file: weights.file(name),
          key: name,
          expected: `numbers that ${to} can hold`,
          found: `element ${before + index}`,
          hint: 'bf16 holds what f32 holds, with fewer digits: --dtype bf16',
        });
      });
      return weights.stream(name, (piece) => {
        const rounded = round(piece);
        work.add(rounded.length);
        sink(rounded);
        before += piece.length / DTYPE_BYTES[dtype];
      });
    },
  };
}

/** All tensors of a folder in the order of the model, in the type and layout that are asked for. */
export function folderSources(
  { config, weights }: Pick<ModelFolder, 'config' | 'weights'>,
  { dtype, layout = 'per-expert' }: { dtype?: TargetType; layout?: ExpertLayout },
  work: Work,
): TensorSource[] {
  const sources = allParameters(config).map(({ name }) =>
    dtype === undefined ? copySource(weights, name, work) : convertedSource(weights, name, dtype, work),
  );
  return layout === 'fused' ? fuseSources(sources, fusedTensors(config)) : sources;
}

/** Puts the tensors of every group one after another into one, which stands where the first of them stood. */
function fuseSources(
  sources: readonly TensorSource[],
  groups: ReturnType<typeof fusedTensors>,
): TensorSource[] {
  const byName = new Map(sources.map((source) => [source.name, source]));
  const groupOf = new Map(groups.flatMap((group) => group.parts.map(({ name }) => [name, group] as const)));
  return sources.flatMap((source) => {
    const group = groupOf.get(source.name);
    if (group === undefined) return [source];
    if (group.parts[0]!.name !== source.name) return [];
    const parts = group.parts.map(({ name }) => byName.get(name)!);
    const other = parts.find(({ dtype }) => dtype !== source.dtype);
    if (other !== undefined) {
      throw new DataError('Experts of several types cannot be put into one tensor.', {
        key: other.name,
        expected: source.dtype,
        found: other.dtype,
        hint: 'give all one type with --dtype',
      });
    }
    const write: TensorSource['write'] = async (sink) => {
      for (const part of parts) await part.write(sink);
    };
    return [{ name: group.name, dtype: source.dtype, shape: [...group.shape], write }];
  });
}

/** Bytes of tensors. */
export function bytesOf(sources: readonly Pick<TensorSource, 'name' | 'dtype' | 'shape'>[]): number {
  return sources.reduce((sum, source) => sum + sourceBytes(source), 0);
}

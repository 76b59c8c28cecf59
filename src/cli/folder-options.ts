/** Options that the commands on model folders share. */
import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { TargetType } from '../formats/round.js';

/** Where a command writes. */
export function intoOption() {
  return new Option('--into <folder>', 'the folder to write: it must not exist, or be empty');
}

const UNITS: Record<string, number> = {
  '': 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

function bytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?) ?([KMG]i?B)?$/i.exec(text) ?? [];
  const count = Math.floor(Number(number) * (UNITS[unit.toUpperCase()] ?? 1));
  if (number === undefined || count < 1)
    throw new InvalidArgumentError('Expected a size such as 5GB or 500MB.');
  return count;
}

/** --shard-size, in bytes. */
export function shardSizeOption() {
  return new Option('--shard-size <size>', 'bytes of tensors in a file of weights: 500MB')
    .argParser(bytes)
    .default(5e9, '5GB');
}

/** --dtype. */
export function dtypeOption() {
  return new Option(
    '--dtype <type>',
    'the type of the numbers, rounded to nearest even (default: as they are)',
  ).choices(['f32', 'bf16', 'f16'] as const);
}

/** The type that {@link dtypeOption} names, as safetensors writes it. */
export function targetType(dtype: 'f32' | 'bf16' | 'f16'): TargetType {
  return dtype.toUpperCase() as TargetType;
}

/** The command as it was typed, for model cards. */
export function typedCommand(): string {
  const quote = (word: string) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
  return ['moe-disco', ...process.argv.slice(2).map(quote)].join(' ');
}

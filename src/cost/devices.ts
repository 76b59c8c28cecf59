/** Devices to plan with: data/prices.yaml, which ships, and a user's inventory on top of it. */
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { RequestError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';
import { closest } from '../recipe/faults.js';

const positive = z.number().positive();

const price = z.strictObject({
  dollarsPerHour: z.number().nonnegative(),
  date: z.coerce.string(),
  source: z.string().min(1),
});

const device = z.strictObject({
  name: z.string().min(1),
  /** 10^9 bytes, as sold. */
  memoryGB: positive.optional(),
  bandwidthGBs: positive.optional(),
  /** Dense peaks, TFLOP/s. */
  bf16Tflops: positive.optional(),
  fp32Tflops: positive.optional(),
  /** Of these figures. */
  source: z.string().min(1).optional(),
  price: price.optional(),
});

const pricesSchema = z.strictObject({ format: z.literal(1), devices: z.array(device).min(1) });

const inventorySchema = z.strictObject({
  format: z.literal(1),
  devices: z
    .array(
      device.extend({
        /** How many of them there are. */
        count: z.int().positive().default(1),
        /** In place of a price with date and source: what the user pays, 0 for a card of one's own. */
        dollarsPerHour: z.number().nonnegative().optional(),
        /** Share of the peak that training reaches: an assumption. */
        utilization: z.number().positive().max(1).default(0.4),
        /** FLOP/s of training that were measured on this device, in place of peak and utilization. */
        measuredTflops: positive.optional(),
      }),
    )
    .min(1),
});

/** A kind of device, and what is known of it. */
export type Device = z.output<typeof device>;

/** A kind of device that the user has or can rent. */
export interface Stock {
  name: string;
  count: number;
  dollarsPerHour: number;
  /** 10^9 bytes. */
  memoryGB: number;
  /** What training reaches, by precision of the arithmetic, TFLOP/s; null where no peak is known. */
  tflops: { bfloat16: number | null; float32: number | null };
  /** How the speed is known, for people. */
  speed: string;
}

function load<T>(file: string, schema: z.ZodType<T>): T {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
  const document = parseDocument(text);
  const [broken] = document.errors;
  if (broken !== undefined)
    throw new RequestError('Not YAML.', { file, found: broken.message.split('\n')[0]! });
  const result = schema.safeParse(document.toJS());
  if (result.success) return result.data;
  const faults = result.error.issues.map(
    ({ path, message }) => `  ${path.join('.') || '(file)'}: ${message}`,
  );
  throw new RequestError(
    `A list of devices has ${faults.length === 1 ? 'a fault' : 'faults'}:\n${faults.join('\n')}`,
    {
      file,
    },
  );
}

/**
 * The devices of a file like data/prices.yaml.
 * @throws RequestError naming the file and every key that is wrong, or a name that stands there twice
 */
export function readDevices(file: string): Device[] {
  const { devices } = load(file, pricesSchema);
  const twice = devices.find(({ name }, i) => devices.findIndex((other) => other.name === name) < i);
  if (twice !== undefined) throw new RequestError('A device is listed twice.', { file, key: twice.name });
  return devices;
}

/**
 * What the user has: each entry of the inventory, completed from `known` where the name stands there.
 * @throws RequestError naming file, device and the figure that neither of them gives
 */
export function readInventory(file: string, known: readonly Device[]): Stock[] {
  const names = known.map(({ name }) => name);
  return load(file, inventorySchema).devices.map((entry) => {
    const shipped = known.find(({ name }) => name === entry.name);
    const all = { ...shipped, ...entry };
    const missing = (key: string, wanted: string): never => {
      const near = shipped === undefined ? closest(entry.name, names) : null;
      throw new RequestError('A device of the inventory lacks a figure.', {
        file,
        key: `${entry.name}: ${key}`,
        expected: wanted,
        found: shipped === undefined ? 'nothing, and the device is not in the shipped list' : 'nothing',
        ...(near === null ? {} : { hint: `did you mean ${near}?` }),
      });
    };
    const { measuredTflops: measured, utilization } = entry;
    const reached = (peak: number | undefined) =>
      measured ?? (peak === undefined ? null : peak * utilization);
    const tflops = { bfloat16: reached(all.bf16Tflops), float32: reached(all.fp32Tflops) };
    if (tflops.bfloat16 === null && tflops.float32 === null) missing('bf16Tflops', 'a peak, TFLOP/s');
    return {
      name: entry.name,
      count: entry.count,
      dollarsPerHour:
        entry.dollarsPerHour ??
        entry.price?.dollarsPerHour ??
        shipped?.price?.dollarsPerHour ??
        missing('dollarsPerHour', 'dollars an hour, 0 for a card of your own'),
      memoryGB: all.memoryGB ?? missing('memoryGB', 'its memory, 10^9 bytes'),
      tflops,
      speed: measured === undefined ? `peak at ${Math.round(100 * utilization)} %` : 'measured',
    };
  });
}

/** What a refusal of the command line must be: one message without a stack, its exit status, nothing half-written. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { disco, type Outcome } from '../cli/spawn.js';

/** Runs a command that must be refused with `status` and a message in which every part of `says` stands. */
export async function refused(
  args: readonly string[],
  status: number,
  says: readonly (string | RegExp)[],
): Promise<Outcome> {
  const outcome = await disco(args);
  expect(outcome.status, outcome.stderr).toBe(status);
  expectMessage(outcome, says);
  return outcome;
}

/** One message, the last thing said: no stack, no bug, no second error. */
export function expectMessage({ status, stderr }: Outcome, says: readonly (string | RegExp)[]): void {
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stderr).not.toContain('This is a bug');
  expect(stderr.match(/^Error: /gm) ?? []).toHaveLength(status === 75 ? 0 : 1);
  const message = status === 75 ? stderr : stderr.slice(stderr.search(/^Error: /m));
  for (const part of says) expect(message).toMatch(typeof part === 'string' ? plain(part) : part);
}

function plain(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
}

/** Runs a command that must succeed. */
export async function accepted(args: readonly string[]): Promise<Outcome> {
  const outcome = await disco(args);
  expect(outcome.status, outcome.stderr).toBe(0);
  return outcome;
}

/** Files of a stage folder that say it has a result, or that somebody began to write and did not finish. */
export function halfWritten(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /(^|\/)(DONE|config\.json)$/.test(name) || /\.(safetensors|bin|idx)$|\.tmp/.test(name),
  );
}

/** A new run with some finished stages of another one, and its recipe with some texts replaced. */
export function copyOf(
  run: string,
  into: string,
  stages: readonly string[],
  replaced: Readonly<Record<string, string>> = {},
): string {
  mkdirSync(into, { recursive: true });
  let recipe = readFileSync(join(run, 'recipe.yaml'), 'utf8');
  for (const [from, to] of Object.entries(replaced)) {
    expect(recipe).toContain(from);
    recipe = recipe.replace(from, to);
  }
  writeFileSync(join(into, 'recipe.yaml'), recipe);
  for (const stage of stages) {
    mkdirSync(dirname(join(into, stage)), { recursive: true });
    cpSync(join(run, stage), join(into, stage), { recursive: true });
  }
  return into;
}

/** Does something to a file, and gives a function that brings the file back as it was. */
export function damage(file: string, change: (bytes: Buffer) => Buffer | string): () => void {
  const before = readFileSync(file);
  writeFileSync(file, change(Buffer.from(before)));
  return () => writeFileSync(file, before);
}

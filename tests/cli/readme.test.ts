/** The README is true: its files exist, its commands and options are known, its exit codes are those of the code. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeProgram } from '../../src/cli/program.js';
import { EXIT } from '../../src/errors.js';
import { EXPERT_VARIABLES } from '../../src/launch/expert.js';
import { PACKAGE_ROOT } from '../../src/launch/shipped.js';

const text = readFileSync(join(PACKAGE_ROOT, 'README.md'), 'utf8');

it('names only files that are there', () => {
  const files = [...text.matchAll(/`((?:src|recipes|docs|data)\/[\w./-]+)`/g)].map(([, file]) => file!);
  expect(files.length).toBeGreaterThan(10);
  expect(files.filter((file) => !existsSync(join(PACKAGE_ROOT, file)))).toEqual([]);
});

it('uses only commands and options that are there', () => {
  const { commands } = makeProgram();
  const lines = [...text.matchAll(/npm run disco -- ([^#\n&]+)/g)].map(([, line]) =>
    line!.trim().split(/\s+/),
  );
  expect(lines.length).toBeGreaterThan(8);
  for (const [name, ...rest] of lines) {
    const command = commands.find((one) => one.name() === name);
    expect(command, name).toBeDefined();
    const options = command!.options.map(({ long }) => long);
    for (const word of rest.filter((one) => one.startsWith('--'))) expect(options).toContain(word);
  }
});

it('lists the exit codes and the variables with the number of the expert', () => {
  const listed = [...text.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code));
  expect(listed.sort((a, b) => a - b)).toEqual(Object.values(EXIT).sort((a, b) => a - b));
  const places = EXPERT_VARIABLES.map((name) => text.indexOf(name));
  expect(places).toEqual([...places].filter((place) => place > 0).sort((a, b) => a - b));
});

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PACKAGE_FOLDER } from '../../src/setup/addon.js';

it('refuses a command that it does not know, before it installs anything', () => {
  const script = join(PACKAGE_FOLDER, 'scripts', 'bootstrap.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, 'demp'], { encoding: 'utf8' });
  expect(status).toBe(2);
  expect(stderr).toMatch(/^usage: .*demo.*test.*\n$/);
});

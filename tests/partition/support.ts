/** Small real corpora for the tests of src/partition. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { TokenStore } from '../../src/formats/token-store.js';
import { TokenWriter } from '../../src/formats/token-writer.js';
import * as torch from '../../src/torch/index.js';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const noPause = async (): Promise<void> => {};

/** A folder that is removed after the file's tests. */
export function temporaryFolder(): () => string {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'partition-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return () => folder;
}

/** Holds every test to as many live tensors at its end as the file began with. */
export function expectNoLeaks(): void {
  let live = 0;
  beforeAll(() => {
    live = torch.liveTensors();
  });
  afterEach(() => {
    expect(torch.liveTensors()).toBe(live);
  });
}

/** A store of these documents, open. */
export async function makeStore(
  prefix: string,
  documents: readonly (readonly number[])[],
  vocabularySize: number,
): Promise<TokenStore> {
  const writer = new TokenWriter(prefix, vocabularySize);
  for (const ids of documents) writer.add(ids);
  await writer.finish();
  return TokenStore.open(prefix, { vocabularySize });
}

/** Token stores in temporary folders, for the tests of this folder. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { TokenStore } from '../../src/formats/token-store.js';
import { TokenWriter } from '../../src/formats/token-writer.js';

/** A temporary folder that goes when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'disco-corpus-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A store of the given documents. */
export async function storeOf(
  documents: readonly ArrayLike<number>[],
  vocabularySize = 60_000,
): Promise<TokenStore> {
  const prefix = join(temporaryFolder(), 'store');
  const writer = new TokenWriter(prefix, vocabularySize);
  for (const document of documents) writer.add(document);
  await writer.finish();
  const store = TokenStore.open(prefix, { vocabularySize });
  onTestFinished(() => store.close());
  return store;
}

/** Documents of the given lengths whose tokens count up from 1: every token says where it stands. */
export function numbered(...lengths: number[]): number[][] {
  let token = 1;
  return lengths.map((length) => Array.from({ length }, () => token++));
}

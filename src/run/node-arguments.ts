/** How Node runs another file of this program, built or from its sources. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** The arguments of node under which `file` of this program runs: this process's own, and tsx for TypeScript. */
export function nodeArguments(file: string): string[] {
  if (!file.endsWith('.ts')) return process.execArgv;
  if (process.execArgv.some((argument) => argument.includes('tsx'))) return process.execArgv;
  return ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
}

/** What a stage folder holds beside the files by which stages are run: work that must not be lost or mixed. */
import { existsSync, readdirSync } from 'node:fs';
import { isTemporary } from '../formats/atomic.js';
import { currentHolder } from './lock.js';

const PROTOCOL_FILE = /^(lock-\d+\.json|manifest\.json|ledger\.jsonl|REFERS\.json)$/;

/** Whether a stage has a result, a checkpoint or anything else of its own in `folder`. */
export function hasWork(folder: string): boolean {
  if (!existsSync(folder)) return false;
  return readdirSync(folder).some((name) => !PROTOCOL_FILE.test(name) && !isTemporary(name));
}

/** Whether `folder` holds work, or somebody is at it. */
export function isTouched(folder: string): boolean {
  return hasWork(folder) || (existsSync(folder) && currentHolder(folder) !== null);
}

/** Commands on model folders that compute with tensors: the engine is made ready, then their module is loaded. */
import type { FolderMerge } from '../merge/folders.js';
import { threadsFor } from '../run/threads.js';
import { ensureEngine } from '../setup/index.js';
import { prepareThisProcess } from './process.js';
import type { Session } from './session.js';

/** Merges plain folders in this process; see mergeFolders. */
export async function mergeIntoFolder(request: FolderMerge, session: Session): Promise<void> {
  await ensureEngine({ say: session.reporter.say });
  prepareThisProcess(threadsFor(null, 1));
  const { mergeFolders } = await import('../merge/folders.js');
  await mergeFolders(request, session);
}

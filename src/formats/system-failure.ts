/** What a failed system call means to the user: retry elsewhere, or correct the request. */
import { DataError, EnvironmentError, isSystemError, RequestError } from '../errors.js';

/** Failures of the machine rather than of the request. */
const ENVIRONMENT: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EIO: 'the disk reports an input/output error',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open on this machine',
  ENOMEM: 'out of memory',
  ESTALE: 'the network file system lost the file',
};

/**
 * The error to throw for a failed read or write of `file`: EnvironmentError for a full or broken disk,
 * DataError for a missing file that was to be read, RequestError for a path that cannot be used, and the error
 * itself when it is none of the system's.
 */
export function systemFailure(error: unknown, file: string, action: 'read' | 'write'): unknown {
  if (!isSystemError(error)) return error;
  const code = error.code ?? '';
  const environment = ENVIRONMENT[code];
  if (environment !== undefined) {
    return new EnvironmentError(`Cannot ${action} ${file}: ${environment}.`, {
      file,
      found: code,
      ...(code === 'ENOSPC' || code === 'EDQUOT'
        ? { hint: 'free some space and run the same command again' }
        : {}),
      cause: error,
    });
  }
  if (code === 'ENOENT' && action === 'read') {
    return new DataError(`File not found: ${file}`, { file, found: code, cause: error });
  }
  if (['ENOENT', 'EEXIST', 'EACCES', 'EPERM', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP'].includes(code)) {
    return new RequestError(`Cannot ${action} ${file}: ${error.message}`, {
      file,
      found: code,
      cause: error,
    });
  }
  return error;
}

/** Where the Hub is, who asks and where downloads lie: by the variables that Hugging Face's own tools read. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { RequestError } from '../../errors.js';
import { HUB_ENDPOINT } from '../../setup/hosts.js';

export interface HubSettings {
  /** Address without a slash at its end. */
  endpoint: string;
  /** Sent to the endpoint and nowhere else. */
  token: string | null;
  /** The folder that holds `datasets--OWNER--NAME`. */
  cache: string;
  /** Whether only what the cache holds is used. */
  offline: boolean;
}

/**
 * HF_ENDPOINT; HF_TOKEN, else the file that `hf auth login` writes (HF_TOKEN_PATH, HF_HOME/token); HF_HUB_CACHE,
 * else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; HF_HUB_OFFLINE.
 *
 * @throws RequestError where HF_ENDPOINT is no address
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const set = (name: string): string | undefined => env[name]?.trim() || undefined;
  const home =
    set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(set('HOME') ?? homedir(), '.cache'), 'huggingface');
  const endpoint = (set('HF_ENDPOINT') ?? HUB_ENDPOINT).replace(/\/+$/, '');
  if (!/^https?:$/.test(protocolOf(endpoint))) {
    throw new RequestError('HF_ENDPOINT is no address.', { expected: 'https://HOST', found: endpoint });
  }
  return {
    endpoint,
    token: set('HF_TOKEN') ?? tokenFile(set('HF_TOKEN_PATH') ?? join(home, 'token')),
    cache: resolve(set('HF_HUB_CACHE') ?? join(home, 'hub')),
    offline: /^(1|on|yes|true)$/i.test(set('HF_HUB_OFFLINE') ?? ''),
  };
}

function protocolOf(address: string): string {
  try {
    return new URL(address).protocol;
  } catch {
    return '';
  }
}

function tokenFile(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim() || null;
  } catch {
    return null; // Nobody has logged in, or not for us to read.
  }
}

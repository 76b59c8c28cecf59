/**
 * Requests to the Hub: through the proxies of the environment, with time limits, bounded answers, retries, and the
 * token for the endpoint alone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { DataError, DiscoError, EnvironmentError, isSystemError, RequestError } from '../../errors.js';
import type { HubSettings } from './settings.js';

/** What the caller of the Hub may add. */
export interface HubOptions {
  /** Instead of the variables of this process. */
  env?: NodeJS.ProcessEnv;
  /** Told what is decided or waited for. */
  say?: (text: string) => void;
  /** Told how far a download is. */
  progress?: (file: string, bytes: number, of: number) => void;
  /** Called while waiting and downloading; may throw to stop. */
  between?: () => void;
  /** Whether every file will be read, so that all of them must find room. */
  readsAll?: boolean;
  /** Milliseconds before the first retry; doubled for each further one. */
  retryDelay?: number;
}

/** An answer whose body is still to be read. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Dispatcher.ResponseData['body'];
}

const MAX_REDIRECTS = 5;
/** Of an answer that is read as a whole: lists of files come in pages of a few hundred kB. */
const MAX_BODY = 2 ** 25;
const ATTEMPTS = 6;
const LONGEST_WAIT = 60_000;
/** Without a byte for so long a connection counts as dead. */
const SILENCE = 30_000;
const WORTH_RETRYING = new Set([408, 429, 500, 502, 503, 504]);

/** A failure that may be over in a moment. */
export class PassingFailure extends Error {
  constructor(
    message: string,
    /** What the server asks to wait, in milliseconds. */
    readonly wait: number | null = null,
  ) {
    super(message);
  }
}

/** Sends requests to one endpoint. */
export class HubClient {
  #dispatcher: Promise<Dispatcher> | undefined;

  constructor(
    readonly settings: HubSettings,
    readonly options: HubOptions = {},
  ) {}

  /**
   * Runs `attempt` until it does not end in a {@link PassingFailure}, six times at most, waiting longer each time.
   * @param what is asked for, for the error
   * @param progress grows while attempts get on: those that did are not counted
   * @throws EnvironmentError after the last attempt; whatever else `attempt` throws
   */
  async retrying<T>(what: string, attempt: () => Promise<T>, progress: () => number = () => 0): Promise<T> {
    for (let failures = 1; ; failures++) {
      const before = progress();
      try {
        this.options.between?.();
        return await attempt();
      } catch (error) {
        if (!(error instanceof PassingFailure)) throw error;
        if (progress() > before) failures = 1;
        if (failures >= ATTEMPTS) {
          throw new EnvironmentError(`The Hub does not answer as it should.`, {
            file: what,
            found: error.message,
            hint: 'run it again later; HTTPS_PROXY, NODE_EXTRA_CA_CERTS and HF_ENDPOINT tell how the Hub is reached, HF_HUB_OFFLINE=1 uses what was downloaded before',
            cause: error,
          });
        }
        await this.#wait(error.wait ?? (this.options.retryDelay ?? 1000) * 2 ** (failures - 1), what, error);
      }
    }
  }

  async #wait(milliseconds: number, what: string, error: Error): Promise<void> {
    const wait = Math.min(milliseconds, LONGEST_WAIT);
    if (wait >= 1000) this.options.say?.(`${what}: ${error.message}; again in ${Math.round(wait / 1000)} s`);
    for (const end = Date.now() + wait; Date.now() < end; ) {
      await sleep(Math.min(200, Math.max(1, end - Date.now())));
      this.options.between?.();
    }
  }

  /** A function like fetch for @huggingface/hub: answers are read whole, and errors are ours but for 404. */
  readonly fetch = async (input: unknown): Promise<Response> => {
    const url = String(input);
    if (new URL(url).origin !== new URL(this.settings.endpoint).origin) {
      throw new DataError('The Hub refers to another host for a list of files.', {
        found: new URL(url).origin,
      });
    }
    return this.retrying(withoutQuery(url), async () => {
      const { status, headers, body } = await this.send(url, { accept: 'application/json' }, [404]);
      const text = (await this.read(body)).toString('utf8');
      const type = headers.get('content-type') ?? 'nothing';
      if (status !== 404 && !type.includes('json')) {
        throw new EnvironmentError('The Hub answered with something else than JSON.', {
          file: withoutQuery(url),
          expected: 'application/json',
          found: type,
          hint: 'a login page of the network, or HF_ENDPOINT names no Hub',
        });
      }
      return new Response(text, { status, headers });
    });
  };

  /** A body that is small, whole. */
  async read(body: Answer['body']): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of body as AsyncIterable<Buffer>) {
        size += piece.length;
        if (size > MAX_BODY)
          throw new DataError('An answer of the Hub is too long.', { expected: `${MAX_BODY} bytes` });
        pieces.push(piece);
      }
    } catch (error) {
      throw passing(error);
    }
    return Buffer.concat(pieces);
  }

  /**
   * Sends a GET request and follows redirects.
   * @param allowed statuses that are no error to the caller, 2xx apart
   * @throws PassingFailure where another attempt may succeed; RequestError, EnvironmentError
   */
  async send(url: string, headers: Record<string, string>, allowed: readonly number[] = []): Promise<Answer> {
    this.#dispatcher ??= this.#connect();
    const dispatcher = await this.#dispatcher;
    const { request } = await import('undici');
    let at = new URL(url);
    for (let redirects = 0; ; redirects++) {
      const own = at.origin === new URL(this.settings.endpoint).origin;
      let answer: Answer;
      try {
        const response = await request(at, {
          dispatcher,
          headers: {
            'user-agent': 'moe-disco',
            'accept-encoding': 'identity',
            ...headers,
            ...(own && this.settings.token !== null && { authorization: `Bearer ${this.settings.token}` }),
          },
        });
        answer = { status: response.statusCode, headers: headersOf(response.headers), body: response.body };
      } catch (error) {
        throw passing(error);
      }
      const location = answer.headers.get('location');
      if (answer.status >= 300 && answer.status < 400 && location !== null) {
        discard(answer);
        const next = new URL(location, at);
        const downgraded = at.protocol === 'https:' && next.protocol !== 'https:';
        if (redirects >= MAX_REDIRECTS || downgraded || !/^https?:$/.test(next.protocol)) {
          throw new EnvironmentError('The Hub redirects to where it should not.', {
            file: withoutQuery(url),
            found: redirects >= MAX_REDIRECTS ? `more than ${MAX_REDIRECTS} redirects` : next.origin,
          });
        }
        at = next;
        continue;
      }
      if ((answer.status >= 200 && answer.status < 300) || allowed.includes(answer.status)) return answer;
      discard(answer);
      throw refusal(answer, withoutQuery(url), this.settings.token !== null);
    }
  }

  async #connect(): Promise<Dispatcher> {
    const { EnvHttpProxyAgent } = await import('undici');
    const env = this.options.env ?? process.env;
    return new EnvHttpProxyAgent({
      httpProxy: env.http_proxy ?? env.HTTP_PROXY ?? '',
      httpsProxy: env.https_proxy ?? env.HTTPS_PROXY ?? '',
      noProxy: env.no_proxy ?? env.NO_PROXY ?? '',
      headersTimeout: SILENCE,
      bodyTimeout: SILENCE,
      maxHeaderSize: 2 ** 16,
      connect: { timeout: SILENCE },
    });
  }
}

/** An address for messages: what follows "?" may hold a signature. */
function withoutQuery(url: string): string {
  return url.split('?')[0]!;
}

function headersOf(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    for (const one of [value ?? []].flat()) headers.append(name, one);
  }
  return headers;
}

/** Closes an answer that nobody reads. */
export function discard({ body }: Answer): void {
  body.on('error', () => {});
  body.destroy();
}

/** A failed connection as a failure that may pass, if it may; errors of ours, and bugs, as they are. */
export function passing(error: unknown): unknown {
  if (error instanceof DiscoError || error instanceof PassingFailure || !isSystemError(error)) return error;
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/.test(error.code ?? '')) {
    return new EnvironmentError("The server's certificate is not trusted.", {
      found: error.message,
      hint: "name the certificate of your network's proxy in NODE_EXTRA_CA_CERTS",
      cause: error,
    });
  }
  return new PassingFailure(`${error.message || error.code}`);
}

const REASONS: Readonly<Record<string, string>> = {
  RepoNotFound: 'There is no such data set on the Hub, or it is private.',
  GatedRepo: 'The data set is given out only to those who accepted its terms.',
  RevisionNotFound: 'The data set has no such revision.',
  EntryNotFound: 'The data set has no such file.',
};

/** The error for an answer that is none. */
function refusal({ status, headers }: Answer, url: string, hasToken: boolean): Error {
  if (WORTH_RETRYING.has(status)) {
    const seconds = Number(headers.get('retry-after') ?? Number.NaN);
    return new PassingFailure(
      `status ${status}`,
      Number.isFinite(seconds) ? Math.max(0, seconds) * 1000 : null,
    );
  }
  const code = headers.get('x-error-code') ?? '';
  const reason = Object.hasOwn(REASONS, code) ? REASONS[code] : undefined;
  const access = status === 401 || status === 403;
  if (!access && status !== 404)
    return new EnvironmentError(`The Hub refuses: status ${status}.`, { file: url });
  return new RequestError(reason ?? (access ? 'The Hub refuses access.' : 'The Hub does not have it.'), {
    file: url,
    found: `status ${status}${code === '' ? '' : `, ${code}`}`,
    ...(access && {
      hint: hasToken
        ? 'the token may not read it: accept the terms on its page, or use another HF_TOKEN'
        : 'set HF_TOKEN to a token that may read it',
    }),
  });
}

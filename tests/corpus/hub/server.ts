/**
 * A local server that speaks the routes of the Hub, small files by itself and large ones (LFS) by redirects to a
 * second host, and that can be told to misbehave.
 */
import { createHash } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Server as TlsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { onTestFinished } from 'vitest';

/** Files of one commit by path. Those in `large` lie in LFS. */
export interface Commit {
  files: Record<string, string | Buffer>;
  large?: RegExp;
}

/** What was asked for. */
interface Asked {
  /** `api`, `resolve` or `cdn`. */
  kind: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

export interface TestHub {
  endpoint: string;
  asked: Asked[];
  /** Commits by revision; a revision is also known by its commit. */
  revisions: Record<string, Commit>;
  /** Answers instead of the server where it returns true. */
  misbehave: (request: Asked, response: ServerResponse) => boolean;
  /** Entries of a list of files in one answer. */
  page: number;
  /** Where it is set, requests without it are refused. */
  token: string | null;
}

/** The data set's name on the server. */
const NAME = 'owner/data';

/** The commit that stands for a revision on the server. */
export function commitOf(revision: string): string {
  return createHash('sha1').update(revision).digest('hex');
}

/** A server that a test has, closed when it ends. */
export async function listen(handler: RequestListener | Server | TlsServer): Promise<string> {
  const server = typeof handler === 'function' ? createServer(handler) : handler;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const gitHash = (content: Buffer) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');

/** A server of one data set. */
export async function testHub(revisions: Record<string, Commit>): Promise<TestHub> {
  const hub: TestHub = {
    endpoint: '',
    asked: [],
    revisions,
    misbehave: () => false,
    page: 1000,
    token: null,
  };
  const content = (commit: Commit, path: string): Buffer | undefined =>
    Object.hasOwn(commit.files, path) ? Buffer.from(commit.files[path]!) : undefined;
  const find = (revision: string): Commit | undefined =>
    Object.entries(hub.revisions).find(([name]) => name === revision || commitOf(name) === revision)?.[1];

  const cdn = await listen((request, response) => {
    const hash = request.url!.split('/').at(-1)!;
    if (observed(hub, 'cdn', hash, request, response)) return;
    const all = Object.values(hub.revisions).flatMap((commit) =>
      Object.values(commit.files).map((f) => Buffer.from(f)),
    );
    const bytes = all.find((one) => sha256(one) === hash);
    if (bytes === undefined) response.writeHead(404).end();
    else sendBytes(bytes, request, response, { etag: `"${hash}"` });
  });

  hub.endpoint = `http://${await listen((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://hub');
    const path = decodeURIComponent(pathname);
    const kind = path.startsWith('/api/') ? 'api' : 'resolve';
    if (observed(hub, kind, path, request, response)) return;
    if (hub.token !== null && request.headers.authorization !== `Bearer ${hub.token}`) {
      response.writeHead(401, { 'x-error-code': 'GatedRepo' }).end('no');
      return;
    }
    const info = /^\/api\/datasets\/owner\/data\/revision\/(.+)$/.exec(path);
    const tree = /^\/api\/datasets\/owner\/data\/tree\/([^/]+)(?:\/(.*))?$/.exec(path);
    const file = /^\/datasets\/owner\/data\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(path);
    const commit = find(info?.[1] ?? tree?.[1] ?? file?.[1] ?? '');
    if (commit === undefined) {
      sendJson(response, 404, { error: 'not found' }, { 'x-error-code': 'RevisionNotFound' });
    } else if (info !== null) {
      const sha = /^[0-9a-f]{40}$/.test(info[1]!) ? info[1]! : commitOf(info[1]!);
      sendJson(response, 200, {
        _id: '1',
        id: NAME,
        sha,
        private: false,
        downloads: 0,
        likes: 0,
        gated: false,
      });
    } else if (tree !== null) {
      sendTree(hub, commit, tree[2] ?? '', searchParams, response);
    } else {
      const bytes = content(commit, file![2]!);
      if (bytes === undefined) response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
      else if (commit.large?.test(file![2]!)) {
        response
          .writeHead(302, {
            location: `http://${cdn}/${sha256(bytes)}`,
            'x-repo-commit': file![1]!,
            'x-linked-etag': `"${sha256(bytes)}"`,
            'x-linked-size': bytes.length,
          })
          .end();
      } else sendBytes(bytes, request, response, { etag: `"${gitHash(bytes)}"`, 'x-repo-commit': file![1]! });
    }
  })}`;
  return hub;
}

function observed(
  hub: TestHub,
  kind: string,
  path: string,
  { headers }: IncomingMessage,
  response: ServerResponse,
): boolean {
  const asked = { kind, path, range: headers.range, authorization: headers.authorization };
  hub.asked.push(asked);
  return hub.misbehave(asked, response);
}

function sendJson(response: ServerResponse, status: number, value: unknown, headers = {}): void {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    .end(JSON.stringify(value));
}

/** Bytes, or the range of them that is asked for. */
function sendBytes(
  bytes: Buffer,
  { headers }: Pick<IncomingMessage, 'headers'>,
  response: ServerResponse,
  more: Record<string, string>,
): void {
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0);
  const status = headers.range === undefined ? 200 : 206;
  response
    .writeHead(status, {
      ...more,
      'accept-ranges': 'bytes',
      'content-length': bytes.length - from,
      ...(status === 206 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    })
    .end(bytes.subarray(from));
}

function sendTree(
  hub: TestHub,
  commit: Commit,
  folder: string,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const prefix = folder === '' ? '' : `${folder}/`;
  const entries = new Map<string, object>();
  for (const [path, content] of Object.entries(commit.files)) {
    if (!path.startsWith(prefix)) continue;
    const rest = path.slice(prefix.length).split('/');
    if (rest.length > 1) {
      const directory = `${prefix}${rest[0]}`;
      entries.set(directory, { type: 'directory', path: directory, size: 0, oid: '0'.repeat(40) });
      if (query.get('recursive') !== 'true') continue;
    }
    const bytes = Buffer.from(content);
    const lfs = { oid: sha256(bytes), size: bytes.length, pointerSize: 130 };
    entries.set(path, {
      type: 'file',
      path,
      size: bytes.length,
      oid: gitHash(bytes),
      ...(commit.large?.test(path) && { lfs }),
    });
  }
  if (entries.size === 0) {
    sendJson(response, 404, { error: 'no such folder' }, { 'x-error-code': 'EntryNotFound' });
    return;
  }
  const from = Number(query.get('cursor') ?? 0);
  const all = [...entries.values()];
  query.set('cursor', String(from + hub.page));
  const next = `${hub.endpoint}/api/datasets/owner/data/tree/${commitOf(
    Object.entries(hub.revisions).find(([, one]) => one === commit)![0],
  )}/${folder}?${query}`;
  const more = from + hub.page < all.length ? { link: `<${next}>; rel="next"` } : {};
  sendJson(response, 200, all.slice(from, from + hub.page), more);
}

/** A proxy that opens tunnels (CONNECT), and the addresses that it was asked for. */
export async function testProxy(): Promise<{ address: string; tunnels: string[] }> {
  const tunnels: string[] = [];
  const server = createServer((_, response) => response.writeHead(405).end());
  server.on('connect', (request, socket, head) => {
    tunnels.push(request.url!);
    const [host, port] = request.url!.split(':');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      target.write(head);
      target.pipe(socket).pipe(target);
    });
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
  });
  return { address: `http://${await listen(server)}`, tunnels };
}

/**
 * Where progress is shown: bars on a terminal, a line now and then elsewhere, messages in a worker. A stage that
 * ended is said once; a {@link StageReporter} also hears which stages begin and end.
 */
import colors from 'picocolors';
import type { Progress, Reporter } from '../run/context.js';
import { details, duration, progressLine, share } from './format.js';
import type { FromWorker } from './messages.js';

/** What a training ended with, measured after its last progress was shown. */
export type Losses = Pick<Progress, 'loss' | 'heldOutLoss'>;

/** A reporter that shows several stages at once. */
export interface StageReporter extends Reporter {
  /** A line that stays, from a stage. */
  sayFrom(stage: string, text: string): void;
  /** `stage` begins; `what` says in words what it does. */
  started(stage: string, what: string): void;
  /** `stage` ended well after `seconds`, or was found done already (null), with these final losses. */
  finished(stage: string, seconds: number | null, losses?: Losses): void;
  /** `stage` ended without success; its error is shown by whoever catches it. */
  failed(stage: string): void;
  /** Takes bars off the screen. */
  close(): void;
}

/** What the reporters write to: process.stderr, or anything like it. */
export interface Sink {
  write(text: string): unknown;
}

const LINE_EVERY_MS = 10_000;

function prefixed(stage: string, text: string): string {
  return text.startsWith(stage) ? text : `${stage}: ${text}`;
}

/** `next` with the held-out loss of before where it brings none: that is measured every N steps only. */
function merged(before: Progress | undefined, next: Progress): Progress {
  return before?.heldOutLoss === undefined ? next : { heldOutLoss: before.heldOutLoss, ...next };
}

/** The line for a stage that ended. */
function endLine(stage: string, seconds: number | null, last: Progress | undefined, losses?: Losses): string {
  if (seconds === null) return `${stage}: was done already`;
  const { note: _note, secondsLeft: _left, ...lasting } = last ?? { stage };
  const rest = details({ ...lasting, ...losses });
  return `${stage}: done in ${duration(seconds)}${rest === '' ? '' : `, ${rest}`}`;
}

/**
 * Plain lines: every `say`, the beginning and end of a stage, and between them at most one line each ten
 * seconds for a stage.
 * @param now milliseconds; a parameter so that a test need not wait
 */
export function lineReporter(sink: Sink, now: () => number = Date.now): StageReporter {
  const shown = new Map<string, number>();
  const last = new Map<string, Progress>();
  const say = (text: string) => void sink.write(`${text}\n`);
  return {
    say,
    sayFrom: (stage, text) => say(prefixed(stage, text)),
    started(stage, what) {
      shown.set(stage, now());
      say(`${stage}: ${what}`);
    },
    progress(progress) {
      const known = merged(last.get(progress.stage), progress);
      last.set(progress.stage, known);
      if (now() - (shown.get(progress.stage) ?? Number.NEGATIVE_INFINITY) < LINE_EVERY_MS) return;
      shown.set(progress.stage, now());
      say(progressLine(known));
    },
    finished: (stage, seconds, losses) => say(endLine(stage, seconds, last.get(stage), losses)),
    failed: (stage) => say(`${stage}: ended early`),
    close: () => {},
  };
}

const REDRAW_EVERY_MS = 120;
const BAR_WIDTH = 20;

/** A terminal: what {@link barReporter} draws on. */
export interface Screen extends Sink {
  columns?: number;
}

/** One line of the terminal for a running stage: name, bar, steps, details; cut to the width of the screen. */
function barLine(progress: Progress, columns: number): string {
  const done = share(progress);
  const full = Math.round((done ?? 0) * BAR_WIDTH);
  const bar = done === null ? '' : `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)} `;
  const steps = done === null ? '' : `${progress.step}/${progress.steps} ${Math.floor(done * 100)} %  `;
  const text =
    `${progress.stage} ${bar}${steps}${details(progress) || (done === null ? 'working' : '')}`.slice(
      0,
      columns - 1,
    );
  return colors.bold(text.slice(0, progress.stage.length)) + text.slice(progress.stage.length);
}

/** Bars on a terminal, one for each running stage and always the last lines; lines that stay scroll above them. */
export function barReporter(screen: Screen): StageReporter {
  const running = new Map<string, Progress>();
  let drawn = 0;
  let timer: NodeJS.Timeout | null = null;
  const erased = () => {
    const text = drawn === 0 ? '' : `\r${drawn > 1 ? `\x1b[${drawn - 1}A` : ''}\x1b[J`;
    drawn = 0;
    return text;
  };
  const draw = (before = '') => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const lines = [...running.values()].map((progress) => barLine(progress, screen.columns || 100));
    const text = `${erased()}${before}${lines.join('\n')}`;
    if (text !== '') screen.write(text);
    drawn = lines.length;
  };
  const say = (text: string) => draw(`${text}\n`);
  return {
    say,
    sayFrom: (stage, text) => say(prefixed(stage, text)),
    started(stage, what) {
      running.set(stage, { stage, note: what });
      draw();
    },
    progress(progress) {
      running.set(progress.stage, merged(running.get(progress.stage), progress));
      if (timer === null) timer = setTimeout(() => draw(), REDRAW_EVERY_MS).unref();
    },
    finished(stage, seconds, losses) {
      const last = running.get(stage);
      running.delete(stage);
      say(endLine(stage, seconds, last, losses));
    },
    failed(stage) {
      running.delete(stage);
      draw();
    },
    close() {
      running.clear();
      draw();
    },
  };
}

/** Bars when standard error is a terminal, lines otherwise. */
export function standardReporter(): StageReporter {
  return process.stderr.isTTY ? barReporter(process.stderr) : lineReporter(process.stderr);
}

/** In a worker: everything goes to the supervisor, progress at most ten times a second. */
export function messageReporter(send: (message: FromWorker) => void, now: () => number = Date.now): Reporter {
  let sent = Number.NEGATIVE_INFINITY;
  return {
    say: (text) => send({ type: 'say', text }),
    progress(progress) {
      const last = progress.step !== undefined && progress.step === progress.steps;
      if (!last && now() - sent < 100) return;
      sent = now();
      send({ type: 'progress', progress });
    },
  };
}

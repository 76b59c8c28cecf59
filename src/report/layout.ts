/** A report as a list of sections, and its two forms: plain text for a terminal, Markdown for report.md. */
import { createColors } from 'picocolors';

/** A table, paragraphs or both under a title. */
export interface Section {
  title: string;
  /** Stands before the table. */
  intro?: string;
  table?: {
    head: string[];
    rows: string[][];
    /** The last column is text and stands to the left. */
    lastIsText?: boolean;
  };
  /** Stand after the table. */
  notes?: string[];
  /** Notes as a list. */
  list?: boolean;
}

/** Lines of at most `width` characters; words are never cut. */
export function wrap(text: string, width: number, indent = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, indent + line];
}

/** A table in columns two spaces apart: the first one to the left, the others to the right. */
function textTable({ head, rows }: NonNullable<Section['table']>): string[] {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)),
  );
  return [head, ...rows].map((row) =>
    `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  ')}`.trimEnd(),
  );
}

/** Sections as plain text of at most about `width` columns; titles in bold where `colour` is on. */
export function toText(sections: readonly Section[], colour: boolean, width = 96): string {
  const paint = createColors(colour);
  const lines: string[] = [];
  for (const { title, intro, table, notes, list } of sections) {
    lines.push('', paint.bold(title));
    if (intro !== undefined) lines.push(...wrap(intro, width, '  '), '');
    if (table !== undefined) {
      const [head, ...rows] = textTable(table);
      lines.push(paint.dim(head!), ...rows);
      if ((notes ?? []).length > 0) lines.push('');
    }
    for (const note of notes ?? []) {
      const wrapped = wrap(note, list === true ? width - 2 : width, '  ');
      lines.push(
        ...(list === true
          ? wrapped.map((line, i) => (i === 0 ? `  -${line.slice(1)}` : `  ${line}`))
          : wrapped),
      );
    }
  }
  return `${lines.slice(1).join('\n')}\n`;
}

/** Whether a column stands to the left: the first one, and a last one of text. */
export function standsLeft({ head, lastIsText }: NonNullable<Section['table']>, column: number): boolean {
  return column === 0 || (lastIsText === true && column === head.length - 1);
}

const cell = (text: string) => text.replaceAll('|', '\\|');

/** Sections as Markdown under a heading. */
export function toMarkdown(heading: string, sections: readonly Section[]): string {
  const lines = [`# ${heading}`];
  const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  for (const { title, intro, table, notes, list } of sections) {
    lines.push('', `## ${title}`);
    if (intro !== undefined) lines.push('', intro);
    if (table !== undefined) {
      const marks = table.head.map((_, i) => (standsLeft(table, i) ? '---|' : '---:|'));
      lines.push('', row(table.head), `|${marks.join('')}`);
      lines.push(...table.rows.map(row));
    }
    if (list === true) lines.push('', ...(notes ?? []).map((note) => `- ${note}`));
    else for (const note of notes ?? []) lines.push('', note);
  }
  return `${lines.join('\n')}\n`;
}

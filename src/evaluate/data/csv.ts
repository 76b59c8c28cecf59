/** CSV as RFC 4180 has it and Python's csv module reads it: fields in quotes may hold commas, line ends and "". */
import { DataError } from '../../errors.js';

/**
 * The rows of a CSV text without a header. Blank lines are passed over; a quote inside an unquoted field is a
 * character like any other.
 *
 * @param file for messages
 * @param columns how many fields a row must have
 * @throws DataError naming the line of a row with another number of fields, of a quote that is not closed, and of
 * text behind a closing quote
 */
export function parseCsv(text: string, file: string, columns: number): { fields: string[]; line: number }[] {
  const rows: { fields: string[]; line: number }[] = [];
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  let line = 1;
  const fail = (message: string, found?: string): DataError =>
    new DataError(message, { file, key: `line ${line}`, ...(found !== undefined && { found }) });
  while (at < text.length) {
    const begun = line;
    const fields: string[] = [];
    for (;;) {
      let field: string;
      if (text[at] === '"') {
        field = '';
        for (at++; ; ) {
          const end = text.indexOf('"', at);
          if (end < 0) throw fail('A quote is not closed.', text.slice(at, at + 60));
          field += text.slice(at, end);
          at = end + 1;
          if (text[at] !== '"') break;
          field += '"';
          at++;
        }
        line += field.split('\n').length - 1;
      } else {
        const begin = at;
        while (at < text.length && !',\r\n'.includes(text[at]!)) at++;
        field = text.slice(begin, at);
      }
      fields.push(field);
      if (text[at] !== ',') break;
      at++;
    }
    if (at < text.length && text[at] !== '\r' && text[at] !== '\n') {
      throw fail('There is text behind a closing quote.', text.slice(at, at + 60));
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
    if (fields.length === columns) rows.push({ fields, line: begun });
    else if (fields.length > 1 || fields[0] !== '') {
      throw new DataError('A row has another number of fields.', {
        file,
        key: `line ${begun}`,
        expected: String(columns),
        found: String(fields.length),
      });
    }
    line++;
  }
  return rows;
}

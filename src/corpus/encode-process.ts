/** A process of the {@link Encoder}: its own tokenizer, texts in, ids out. Ends with the process that started it. */
import { type EncodedTexts, encodeTexts } from './encode.js';
import { TextTokenizer } from './tokenizer.js';

/** First the tokenizer, then texts to encode. */
export type ToEncodeProcess =
  | {
      type: 'tokenizer';
      /** For messages. */
      file: string;
      /** The tokenizer.json. */
      bytes: Uint8Array;
      eos: number;
    }
  | { type: 'texts'; batch: number; texts: readonly string[] };

/** `ready` once; then each batch's result, null where it failed. */
export type FromEncodeProcess = 'ready' | { batch: number; encoded: EncodedTexts | null };

const send = (message: FromEncodeProcess) => process.send?.(message);
let tokenizer: TextTokenizer | undefined;
process.on('message', async (message: ToEncodeProcess) => {
  if (message.type === 'tokenizer') {
    const { file, bytes, eos } = message;
    tokenizer = await TextTokenizer.parse(file, Buffer.from(bytes), eos);
    send('ready');
    return;
  }
  // Whoever asked encodes it again and meets the same error, with all it knows.
  const encoded = await encodeTexts(tokenizer!, message.texts).catch(() => null);
  send({ batch: message.batch, encoded });
});
process.on('disconnect', () => process.exit());
// A terminal sends these to every process of a command; the one that saves says when this one ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});

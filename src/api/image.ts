// POST /v1/groups/GROUP/export?volume=V: the image of a volume as of one moment, as a stream of pieces. A piece is a head and its bytes; one of kind
// `end` says as of which record they are, one of kind `failed` why there is no image. A stream that ends without either was cut off.

import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';

import type { Context, Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import { getU64, layout, type Layout, setU64, viewOf } from '../core/base/bytes.ts';
import { decodeUtf8, encodeUtf8 } from '../core/base/utf8.ts';
import { type ImageEnd, ImageFailure, type ImagePiece } from '../core/base/image.ts';

const headFields = [
  ['kind', 'u32', '1: data; 2: end, JSON; 3: failed, JSON'],
  ['length', 'u32', 'bytes that follow'],
  ['offset', 'u64', 'data: first byte in the volume; else 0'],
] as const;

const headLayout: Layout<(typeof headFields)[number][0]> = layout(16, headFields);
const DATA = 1;
const END = 2;
const FAILED = 3;
/** Larger than any piece that is sent. */
const LENGTH_MAX = 16 * 1024 * 1024;

const endSchema: z.ZodType<ImageEnd> = z.object({
  sizeBytes: z.int().min(0),
  epoch: z.int().min(0),
  seq: z.int().min(0),
  timeMillis: z.number().nullable(),
});

function encode(kind: number, offset: number, bytes: Uint8Array): Uint8Array {
  const message = new Uint8Array(headLayout.bytes + bytes.length);
  const view = viewOf(message);
  view.setUint32(headLayout.at.kind, kind, true);
  view.setUint32(headLayout.at.length, bytes.length, true);
  setU64(view, headLayout.at.offset, offset);
  message.set(bytes, headLayout.bytes);
  return message;
}

/** The stream of an image. */
export function imageStream(image: AsyncGenerator<ImagePiece, ImageEnd>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await image.next();
        if (next.done !== true) return controller.enqueue(encode(DATA, next.value.offset, next.value.bytes));
        controller.enqueue(encode(END, 0, encodeUtf8(JSON.stringify(next.value))));
      } catch (error) {
        if (!(error instanceof ImageFailure)) throw error;
        controller.enqueue(encode(FAILED, 0, encodeUtf8(JSON.stringify({ why: error.message }))));
      }
      controller.close();
    },
    async cancel() {
      await image.return(undefined as never);
    },
  });
}

/** The pieces of a stream, and last as of which record they are. Throws ImageFailure. */
export async function* readImageStream(stream: AsyncIterable<Uint8Array>): AsyncGenerator<ImagePiece, ImageEnd> {
  let parts: Uint8Array[] = [];
  let held = 0;
  let needed = headLayout.bytes;
  for await (const part of stream) {
    parts.push(part);
    held += part.length;
    while (held >= needed) {
      const bytes = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
      parts = [bytes];
      const view = viewOf(bytes);
      const length = view.getUint32(headLayout.at.length, true);
      if (length > LENGTH_MAX) throw new ImageFailure('what answers there is no image');
      needed = headLayout.bytes + length;
      if (held < needed) break;
      const body = bytes.subarray(headLayout.bytes, needed);
      const kind = view.getUint32(headLayout.at.kind, true);
      if (kind !== DATA) return readEnd(kind, body);
      yield { offset: getU64(view, headLayout.at.offset), length, bytes: body };
      parts = [bytes.subarray(needed)];
      held -= needed;
      needed = headLayout.bytes;
    }
  }
  throw new ImageFailure('the daemon has ended in the middle of it');
}

function readEnd(kind: number, body: Uint8Array): ImageEnd {
  const value: unknown = JSON.parse(decodeUtf8(body) ?? 'null');
  const end = endSchema.safeParse(value);
  if (kind === END && end.success) return end.data;
  const failed = z.object({ why: z.string() }).safeParse(value);
  throw new ImageFailure(kind === FAILED && failed.success ? failed.data.why : 'what answers there is no image');
}

/** Whether the asker may be any user of this machine: a port asks for nothing, a unix socket has a mode, and TLS wants a certificate. */
function isOpenToAll(c: Context): boolean {
  const { incoming } = c.env as { incoming?: IncomingMessage };
  return incoming !== undefined && !(incoming.socket instanceof TLSSocket) && incoming.socket.remoteAddress !== undefined;
}

/** Adds the route. `image` throws TERCET_NO_SUCH_GROUP, and answers null for a volume that the group does not have. */
export function addImageRoute(app: Hono, image: (group: string, volume: string) => AsyncGenerator<ImagePiece, ImageEnd> | null): void {
  app.post('/v1/groups/:group/export', (c) => {
    if (isOpenToAll(c))
      throw new TercetError('TERCET_FORBIDDEN', {
        what: 'the control API',
        who: 'a loopback port',
        reason:
          "contents of a volume go over a unix socket, or to an administrator's certificate, because any user of the machine reaches the port",
      });
    const group = c.req.param('group');
    const found = image(group, c.req.query('volume') ?? '');
    if (found === null)
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: `group ${group} has no such volume` });
    return new Response(imageStream(found), { headers: { 'content-type': 'application/octet-stream' } });
  });
}

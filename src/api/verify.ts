// What the control API says of verifies: the order, how far it is, what was found; and the routes. Described in docs/reference/api.md.

import type { Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import type { OrderOutcome, VerifyProgress, VerifyStatus } from '../core/site/contract.ts';

export type { VerifyProgress, VerifyStatus };

const count = z.int().min(0);
const algorithmSchema = z.enum(['sha256', 'sha1', 'md5', 'crc32']);

const progressShape = {
  running: z.boolean(),
  scheduled: z.boolean(),
  resting: z.boolean(),
  algorithm: algorithmSchema.nullable(),
  reportOnly: z.boolean(),
  totalBytes: count,
  passedBytes: count,
  verifiedBytes: count,
  unverifiedBytes: count,
  bytesPerSecond: count,
  etaSeconds: z.number().nullable(),
  beganMillis: count.nullable(),
  endedMillis: count.nullable(),
  oldestUnverifiedSeconds: z.number().nullable(),
  comparedSites: z.array(z.string()),
  differingBlocks: count,
  damagedRecords: count,
  unmended: count,
  recordsCheckedSites: z.array(z.string()),
  recordsCheckedBytes: count,
};

/** Schema of VerifyProgress: a part of the status of a group. */
export const verifyProgressSchema: z.ZodType<VerifyProgress> = z.object(progressShape);

/** Schema of VerifyStatus: the answer to GET /v1/groups/GROUP/verify. */
export const verifyStatusSchema: z.ZodType<VerifyStatus> = z.object({
  ...progressShape,
  findings: z.array(
    z.object({
      site: z.string(),
      kind: z.enum(['rot', 'missed-write', 'difference', 'unreadable']),
      volume: count.nullable(),
      file: z.string().nullable(),
      offset: count,
      length: count,
      seq: count,
      repaired: z.boolean(),
      proven: z.boolean(),
    }),
  ),
});

/** How a verify is ordered: body of POST /v1/groups/GROUP/verify. */
export interface VerifyRequest {
  readonly algorithm: 'sha256' | 'sha1' | 'md5' | 'crc32';
  readonly reportOnly: boolean;
  readonly bytesPerSecond: number;
}

const requestSchema: z.ZodType<VerifyRequest> = z.strictObject({
  algorithm: algorithmSchema.default('sha256'),
  reportOnly: z.boolean().default(false),
  bytesPerSecond: count.default(0),
});

/** A group that can be verified; null when it is not here. */
export type FindVerified = (group: string) => {
  verify(order: VerifyRequest): OrderOutcome | Promise<OrderOutcome>;
  cancelVerify(): OrderOutcome | Promise<OrderOutcome>;
  verifyStatus(): VerifyStatus | Promise<VerifyStatus>;
} | null;

/** Adds the routes. */
export function addVerifyRoutes(app: Hono, find: FindVerified): void {
  const of = (group: string): NonNullable<ReturnType<FindVerified>> => {
    const found = find(group);
    if (found === null) throw new TercetError('TERCET_NO_SUCH_GROUP', { group: group.slice(0, 64), known: 'those of this site' });
    return found;
  };
  const answer = (outcome: OrderOutcome): Response => Response.json(outcome, { status: outcome.kind === 'done' ? 200 : 409 });
  app.get('/v1/groups/:group/verify', async (c) => c.json(await of(c.req.param('group')).verifyStatus(), 200));
  app.post('/v1/groups/:group/verify', async (c) => {
    const text = await c.req.text();
    let body: unknown;
    try {
      body = text === '' ? {} : JSON.parse(text);
    } catch (cause) {
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: 'the body is not JSON' }, { cause });
    }
    const order = requestSchema.safeParse(body);
    if (!order.success) throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: z.prettifyError(order.error) });
    return answer(await of(c.req.param('group')).verify(order.data));
  });
  app.post('/v1/groups/:group/verify-cancel', async (c) => answer(await of(c.req.param('group')).cancelVerify()));
}

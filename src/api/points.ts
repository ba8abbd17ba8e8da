// POST /v1/groups/GROUP/point and .../point-remove: points of the copy here. GET /v1/status lists them.

import type { Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { OrderOutcome, PointOrder, PointStatus } from '../core/site/contract.ts';

const count = z.int().min(0);

/** What a status says of a point. */
export const pointSchema: z.ZodType<PointStatus> = z.object({
  name: z.string(),
  epoch: count,
  seq: count,
  timeMillis: z.number().nullable(),
  madeMillis: z.number(),
  state: z.enum(['preparing', 'ready', 'lost']),
  why: z.string().nullable(),
  connections: count,
  pinnedBytes: count,
});

const name = z.string().max(limits.nameCharsMax);
const orderSchema: z.ZodType<PointOrder> = z.strictObject({
  name,
  at: z.union([z.strictObject({ seq: count }), z.strictObject({ timeMillis: z.number() })]).nullable(),
});
const removeSchema: z.ZodType<{ readonly name: string }> = z.strictObject({ name });

/** A group whose copy is here; null when it is not. */
export type FindPoints = (group: string) => {
  createPoint(order: PointOrder): OrderOutcome | Promise<OrderOutcome>;
  removePoint(name: string): OrderOutcome | Promise<OrderOutcome>;
} | null;

/** Adds the routes. */
export function addPointRoutes(app: Hono, find: FindPoints): void {
  const of = (group: string): NonNullable<ReturnType<FindPoints>> => {
    const found = find(group);
    if (found === null) throw new TercetError('TERCET_NO_SUCH_GROUP', { group: group.slice(0, 64), known: 'those of this site' });
    return found;
  };
  const answer = (outcome: OrderOutcome): Response => Response.json(outcome, { status: outcome.kind === 'done' ? 200 : 409 });
  app.post('/v1/groups/:group/point', async (c) =>
    answer(await of(c.req.param('group')).createPoint(read(await c.req.text(), orderSchema))),
  );
  app.post('/v1/groups/:group/point-remove', async (c) =>
    answer(await of(c.req.param('group')).removePoint(read(await c.req.text(), removeSchema).name)),
  );
}

function read<Value>(text: string, schema: z.ZodType<Value>): Value {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: 'the body is not JSON' }, { cause });
  }
  const order = schema.safeParse(body);
  if (order.success) return order.data;
  throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: z.prettifyError(order.error) });
}

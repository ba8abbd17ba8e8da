// The order to stop a daemon, in the control API.

import type { Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import type { OrderOutcome } from '../core/site/contract.ts';
import { faultsOf } from './schema.ts';

/** Body of POST /v1/stop. */
const stopSchema: z.ZodType<{ force: boolean }> = z.strictObject({ force: z.boolean() });

/** Adds the route. `stop` decides, and has the daemon end once the answer has left. */
export function addStopRoute(app: Hono, stop: (force: boolean) => OrderOutcome): void {
  app.post('/v1/stop', async (c) => {
    const fail = (reason: string, cause?: unknown): never => {
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason }, { cause });
    };
    let value: unknown;
    try {
      value = JSON.parse(await c.req.text());
    } catch (cause) {
      return fail(`the body is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, cause);
    }
    const parsed = stopSchema.safeParse(value);
    if (!parsed.success) return fail(faultsOf(parsed.error));
    const outcome = stop(parsed.data.force);
    return c.json(outcome, outcome.kind === 'done' ? 200 : 409);
  });
}

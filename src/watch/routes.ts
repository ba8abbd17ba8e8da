// What of the watch can be asked over HTTP: events as a stream, metrics, and what the page shows. Nothing here changes anything.

import type { Context, Hono } from 'hono';
import { streamSSE } from 'hono/streaming';

import type { SiteEvent } from './events.ts';
import type { Watch } from './watch.ts';

/** A stream without events says that it is alive. */
const ALIVE_MILLIS = 10_000;
/** Events that wait for a reader who takes none; at more, the stream ends, and the reader asks again from where it was. */
const UNREAD_MAX = 4096;

/** Adds the routes: docs/reference/api.md. */
export function addWatchRoutes(app: Hono, watch: Watch): Hono {
  app.get('/metrics', (c) => c.text(watch.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
  app.get('/v1/view', (c) => c.json({ groups: watch.views(Number(c.req.query('since') ?? '0') || 0) }, 200));
  app.get('/v1/events', (c) =>
    c.req.query('follow') === undefined && !wantsStream(c) ? c.json({ events: watch.events.after(lastId(c)) }, 200) : stream(c, watch),
  );
  return app;
}

function wantsStream(c: Context): boolean {
  return (c.req.header('accept') ?? '').includes('text/event-stream');
}

/** Where the reader was, by the header of EventSource or by ?after=ID. */
function lastId(c: Context): string | null {
  return c.req.header('last-event-id') ?? c.req.query('after') ?? null;
}

function stream(c: Context, watch: Watch): Response {
  return streamSSE(c, async (sse) => {
    const unread: SiteEvent[] = [...watch.events.after(lastId(c))];
    let wake: () => void = () => {};
    let ended = false;
    const end = watch.events.follow((event) => {
      unread.push(event);
      if (unread.length > UNREAD_MAX) ended = true;
      wake();
    });
    sse.onAbort(() => {
      ended = true;
      wake();
    });
    await sse.write(': events of this site\n\n');
    while (!ended) {
      const event = unread.shift();
      if (event === undefined) {
        const woken = await sleep(ALIVE_MILLIS, (resolve) => (wake = resolve));
        if (!woken && !ended) await sse.write(': alive\n\n');
      } else await sse.writeSSE({ id: event.id, event: event.kind, data: JSON.stringify(event) });
    }
    end();
  });
}

/** Resolves to true when it is woken, or to false after so long. */
function sleep(millis: number, onWake: (resolve: () => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), millis);
    onWake(() => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

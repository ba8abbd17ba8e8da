// tercet events: what has happened at a site, and with --follow what happens from now on.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { EventLine } from '../../api/schema.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly follow: boolean;
  readonly json: boolean;
  readonly after?: string;
}

/** With --follow it ends when the daemon does: exit code 4. */
export const eventsCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Say what has happened at a site',
    fullDescription:
      'The newest 2048 events since the daemon of the site started, one line each; with --follow also those that come, until it is interrupted. ' +
      'Kinds of events: docs/reference/events.md.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose daemon is asked', placeholder: 'NAME' },
      follow: { kind: 'boolean', brief: 'Go on with the events that come', default: false },
      after: { kind: 'parsed', parse: String, brief: 'Only those after the event with this id', placeholder: 'ID', optional: true },
      json: { kind: 'boolean', brief: 'Print each event as a line of JSON', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const site = config.siteOf(flags.site);
    const client = await clientOf(config, flags.site);
    for await (const event of client.events({ after: flags.after ?? null, follow: flags.follow })) {
      print(this, flags.json ? JSON.stringify(event) : lineOf(event));
    }
    if (!flags.follow) return;
    throw new TercetError('TERCET_UNREACHABLE', {
      what: `the daemon of ${site.name}`,
      address: client.address,
      reason: 'it has ended the stream',
    });
  },
});

function lineOf({ time, kind, group, peer, text }: EventLine): string {
  const about = [group, peer].filter((part) => part !== null).join(' ');
  return `${time} ${kind.padEnd(18)} ${about === '' ? '' : `${about}: `}${text}`;
}

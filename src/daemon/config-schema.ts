// The keys of the configuration file: what each may be, its default and its meaning. Each message is the rest of a sentence about the value.
// docs/reference/config.md has a row for each; a test compares the two.

import * as z from 'zod';

import type { Address } from '../api/address.ts';
import { readAddress } from '../api/address.ts';
import { limits } from '../core/base/limits.ts';
import { BLOCK_BYTES } from '../core/base/units.ts';

const MIB = 1024 * 1024;

/** What the names of groups, volumes and sites may be. */
export const NAME_FORM = /^[a-z0-9-]{1,32}$/;
const NAME_TEXT = `1 to ${limits.nameCharsMax} of a-z, 0-9 and "-"`;
/** What to say of a name that is not one. */
export const NAME_WRONG: string = `a name must be ${NAME_TEXT}`;

/** A number of a group that has a default. `unit` is part of the key. */
export interface NumberOption {
  readonly fallback: number;
  readonly min: number;
  readonly max: number;
  /** Whether it may have a fraction. */
  readonly fraction?: boolean;
}

/** The numbers of a group. */
export const groupNumbers = {
  lease_millis: { fallback: 1500, min: 100, max: 60_000 },
  heartbeat_millis: { fallback: 250, min: 10, max: 10_000 },
  peer_timeout_millis: { fallback: 1000, min: 20, max: 60_000 },
  witness_retry_millis: { fallback: 500, min: 10, max: 60_000 },
  drift_percent: { fallback: 2, min: 0.1, max: 50, fraction: true },
  hold_seconds: { fallback: 60, min: 0, max: 86_400 },
  async_delay_millis: { fallback: 20, min: 0, max: 60_000 },
  segment_mib: { fallback: 64, min: 1, max: 1024 },
  sidefile_mib: { fallback: 1024, min: 128, max: 16 * 1024 * 1024 },
  sidefile_min_mib: { fallback: 0, min: 0, max: 16 * 1024 * 1024 },
  sidefile_records: { fallback: 0, min: 0, max: 1_000_000_000 },
  destage_idle_millis: { fallback: 1000, min: 0, max: 600_000 },
  bitmap_kib: { fallback: 64, min: 4, max: 65_536 },
  scan_unit_mib: { fallback: 256, min: 1, max: 1024 },
  destage_backlog_mib: { fallback: 256, min: 1, max: 1024 * 1024 },
  scrub_mib_per_second: { fallback: 0, min: 0, max: 1024 * 1024 },
  rpo_seconds: { fallback: 0, min: 0, max: 604_800, fraction: true },
  rpo_alert_percent: { fallback: 100, min: 1, max: 1000 },
} as const satisfies Record<string, NumberOption>;

/** The numbers of a site. */
export const siteNumbers = {
  nbd_connections: { fallback: limits.nbdConnectionsMax, min: 1, max: 4096 },
  nbd_memory_mib: { fallback: 1024, min: 64, max: 1024 * 1024 },
} as const satisfies Record<string, NumberOption>;

function numberSchema(option: NumberOption): z.ZodDefault<z.ZodNumber> {
  const text = `must be a ${option.fraction === true ? '' : 'whole '}number from ${option.min} to ${option.max}; the default is ${option.fallback}`;
  const number = option.fraction === true ? z.number(text) : z.int(text);
  return number.min(option.min, text).max(option.max, text).default(option.fallback);
}

const booleanSchema = (text: string): z.ZodBoolean => z.boolean(`must be true or false; ${text}`);

function addressSchema(what: string, options: { unix: boolean }): z.ZodType<Address, unknown> {
  const form = options.unix ? 'HOST:PORT, such as "127.0.0.1:7400" or "[::1]:7400", or unix:/PATH' : 'HOST:PORT, such as "10.0.0.1:7410"';
  return z.string(`must be ${form}: ${what}`).transform((text, context) => {
    const reading = readAddress(text);
    if ('address' in reading && (options.unix || reading.address.kind === 'tcp')) return reading.address;
    const wrong = 'wrong' in reading && options.unix ? reading.wrong : form;
    context.addIssue({ code: 'custom', message: `must be ${wrong}` });
    return z.NEVER;
  });
}

const nameSchema = (text: string): z.ZodString => z.string(`must be ${text}`).regex(NAME_FORM, NAME_WRONG);

const SIZE_TEXT = `must be a number of bytes, or a whole number with B, KiB, MiB, GiB or TiB, such as "20GiB"`;
const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KiB: 1024, MiB: MIB, GiB: 1024 * MIB, TiB: 1024 * 1024 * MIB };

/** A size in bytes: a number, or text with a binary unit. A multiple of a block. */
const sizeSchema: z.ZodType<number, unknown> = z.union([z.number(), z.string()], SIZE_TEXT).transform((value, context) => {
  const match = /^([0-9]{1,16}) ?(B|KiB|MiB|GiB|TiB|)$/.exec(String(value));
  const bytes = match === null ? null : Number(match[1]) * (SIZE_UNITS[match[2] ?? ''] ?? 1);
  const wrong = bytes === null ? SIZE_TEXT : sizeWrong(bytes);
  if (bytes !== null && wrong === null) return bytes;
  context.addIssue({ code: 'custom', message: wrong ?? SIZE_TEXT });
  return z.NEVER;
});

function sizeWrong(bytes: number): string | null {
  if (bytes < BLOCK_BYTES) return `must be at least ${BLOCK_BYTES} bytes, one block`;
  if (bytes > limits.volumeBytesMax) return `must be at most ${limits.volumeBytesMax / (1024 * 1024 * MIB)}TiB`;
  if (bytes % BLOCK_BYTES === 0) return null;
  const below = bytes - (bytes % BLOCK_BYTES);
  return `must be a multiple of ${BLOCK_BYTES} bytes: the nearest are ${below} and ${below + BLOCK_BYTES}`;
}

const pathSchema = (text: string): z.ZodString => z.string(`must be ${text}`).regex(/^[^\0]+$/, `must be ${text}`);

const tables = (text: string): z.ZodRecord<z.ZodString, z.ZodUnknown> => z.record(z.string(), z.unknown(), text);

/** Keys at the top of the file. */
export const topShape = {
  insecure: booleanSchema('true allows addresses that other machines reach, without encryption').default(false),
  tls: tables('must be a table with ca, cert and key').optional(),
  witness: tables('must be a table: add [witness] with address = "HOST:PORT"'),
  site: tables('must be tables: add one [site.NAME] for each site'),
  group: tables('must be tables: add one [group.NAME] for each group'),
};

/** Keys of [tls]. */
export const tlsShape = {
  ca: pathSchema('the path of the certificates of the authorities that are trusted, as PEM'),
  cert: pathSchema('the path of the own certificate, as PEM; {site} in it stands for the name of the site'),
  key: pathSchema('the path of its private key, as PEM; {site} in it stands for the name of the site'),
};

/** Keys of [witness]. */
export const witnessShape = { address: addressSchema('where the witness listens', { unix: false }) };

/** Keys of [site.NAME]. */
export const siteShape = {
  data: pathSchema('the path of a folder, such as "/var/lib/tercet"'),
  link: addressSchema('where the other sites connect to this one', { unix: false }),
  nbd: z
    .array(
      addressSchema('where hosts connect', { unix: true }),
      'must be a list of addresses, such as ["10.0.0.1:10809", "unix:/run/tercet/nbd.sock"]',
    )
    .min(1, 'must have at least one address, such as "unix:/run/tercet/nbd.sock"'),
  nbd_tls: z.enum(['off', 'optional', 'required'], 'must be "off", "optional" or "required": whether hosts speak TLS over TCP').optional(),
  nbd_clients: z
    .enum(['certificate', 'anybody'], 'must be "certificate" or "anybody": who may be at the other end of TLS')
    .default('certificate'),
  nbd_connections: numberSchema(siteNumbers.nbd_connections),
  nbd_memory_mib: numberSchema(siteNumbers.nbd_memory_mib),
  control: addressSchema('where the commands ask', { unix: true }),
  remote_control: addressSchema('where commands on other machines ask, with a certificate of an administrator', { unix: false }).optional(),
  page: addressSchema('where browsers see the page', { unix: true }).optional(),
  page_token_file: pathSchema('the path of a file with the token that allows orders on the page').optional(),
  hooks: pathSchema('the path of a folder with programs, such as "/etc/tercet/hooks.d"').optional(),
};

const SCRUB_TEXT = 'must be "off", "daily", "weekly" or "monthly": how often all copies are compared; the default is "off"';
const WINDOW_TEXT = 'must be two times of the day in UTC, such as "22:00-06:00": when a scrub works';

/** Two times of the day as minutes. */
const windowSchema: z.ZodType<{ fromMinute: number; toMinute: number }, unknown> = z.string(WINDOW_TEXT).transform((text, context) => {
  const match = /^([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])$/.exec(text);
  if (match === null) {
    context.addIssue({ code: 'custom', message: WINDOW_TEXT });
    return z.NEVER;
  }
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = match.slice(1).map(Number);
  return { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
});

/** Least and most that a link may be bounded to. Less would make a whole frame take longer than a mirror is waited for. */
const LINK_MIB_MIN = 0.25;
const LINK_MIB_MAX = 1024 * 1024;
const LINK_TEXT = `must be a number from ${LINK_MIB_MIN} to ${LINK_MIB_MAX}: what a primary sends that site at most in a second, in MiB`;

const STREAMS_TEXT = `must be a whole number from 1 to ${limits.linkStreamsMax}: over how many connections records and images go to that site`;
const FOLD_MILLIS_MAX = 60_000;
const FOLD_TEXT = `must be a whole number from 0 to ${FOLD_MILLIS_MAX}: for how many milliseconds records for that site are collected, of which only the newest content travels`;

const siteListText = 'a list of names of sites, such as ["near", "far"]';
type NumberKey = keyof typeof groupNumbers;

/** Keys of [group.NAME]. */
export const groupShape = {
  sites: z
    .array(nameSchema('the name of a site'), `must be ${siteListText}`)
    .min(1, 'must name at least one site')
    .max(limits.groupSitesMax, `must name at most ${limits.groupSitesMax} sites`),
  async: z.array(nameSchema('the name of a site'), `must be ${siteListText}`).default([]),
  overflow: z
    .record(
      z.string(),
      z.enum(
        ['bitmap', 'slow', 'stop'],
        'must be "bitmap", "slow" or "stop": what is done when the sidefile is full of what that site lacks',
      ),
      'must be a table by site, such as { far = "slow" }',
    )
    .default({}),
  compress: z
    .record(
      z.string(),
      z.enum(['off', 'zstd'], 'must be "off" or "zstd": how records and images are packed on their way to that site'),
      'must be a table by site, such as { far = "zstd" }',
    )
    .default({}),
  streams: z
    .record(
      z.string(),
      z.int(STREAMS_TEXT).min(1, STREAMS_TEXT).max(limits.linkStreamsMax, STREAMS_TEXT),
      'must be a table by site, such as { far = 4 }',
    )
    .default({}),
  sidefile: z
    .record(
      z.string(),
      z.enum(['disk', 'memory'], 'must be "disk" or "memory": where that site keeps its sidefile'),
      'must be a table by site, such as { far = "memory" }',
    )
    .default({}),
  link_mib_per_second: z
    .record(
      z.string(),
      z.number(LINK_TEXT).min(LINK_MIB_MIN, LINK_TEXT).max(LINK_MIB_MAX, LINK_TEXT),
      'must be a table by site, such as { far = 20 }',
    )
    .default({}),
  fold_millis: z
    .record(
      z.string(),
      z.int(FOLD_TEXT).min(0, FOLD_TEXT).max(FOLD_MILLIS_MAX, FOLD_TEXT),
      'must be a table by site, such as { far = 1000 }',
    )
    .default({}),
  pre_election: booleanSchema(
    'with true a mirrored pair that has lost its witness agrees that its primary may go on alone if the mirror is lost too',
  ).default(false),
  thread: booleanSchema('with true the group lives in a thread of its own, so that groups use several cores').default(false),
  bitmap_only: z.array(nameSchema('the name of a site'), `must be ${siteListText}`).default([]),
  ...(Object.fromEntries(Object.entries(groupNumbers).map(([key, option]) => [key, numberSchema(option)])) as Record<
    NumberKey,
    z.ZodDefault<z.ZodNumber>
  >),
  sidefile_guide: z
    .enum(['newest', 'oldest'], 'must be "newest" or "oldest": by which record of the other copies the size of the sidefile goes')
    .default('newest'),
  scrub: z.enum(['off', 'daily', 'weekly', 'monthly'], SCRUB_TEXT).default('off'),
  scrub_window: windowSchema.optional(),
  scrub_digest: z
    .enum(['sha256', 'sha1', 'md5', 'crc32'], 'must be "sha256", "sha1", "md5" or "crc32": by which digest a scrub compares copies')
    .default('sha256'),
  scrub_repairs: booleanSchema('false: a scrub only reports what differs').default(true),
  volume: z
    .array(z.unknown(), 'must be tables: add one [[group.NAME.volume]] for each volume')
    .min(1, 'must have at least one volume: add [[group.NAME.volume]]')
    .max(limits.groupVolumesMax, `must have at most ${limits.groupVolumesMax} volumes`),
};

/** Keys of [[group.NAME.volume]]. */
export const volumeShape = {
  name: nameSchema('the name of the volume'),
  size: sizeSchema,
  unserved: z.enum(['fail', 'hold'], 'must be "fail" or "hold": what becomes of requests while nobody may serve').default('fail'),
  fail_after_seconds: numberSchema(groupNumbers.hold_seconds).removeDefault().optional(),
  base: z
    .record(
      z.string(),
      pathSchema('the path of an image file or block device'),
      'must be a table of paths, such as { near = "/dev/vg/db" }',
    )
    .default({}),
};

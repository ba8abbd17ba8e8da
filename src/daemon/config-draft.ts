// The tables of a configuration as far as each is sound by itself: what the relations between them are checked on.

import { resolve } from 'node:path';

import type * as z from 'zod';

import type { Address } from '../api/address.ts';
import type { SiteName } from '../core/base/units.ts';
import type { ConfigFaults } from './config-faults.ts';
import { readTable } from './config-faults.ts';
import { NAME_FORM, NAME_WRONG, groupShape, siteShape, volumeShape } from './config-schema.ts';
import type { KeyPath } from './toml-places.ts';

/** The tables [kind.NAME], with their names checked. */
export function namedTables(
  tables: Readonly<Record<string, unknown>> | undefined,
  kind: string,
  faults: ConfigFaults,
): readonly [string, unknown][] {
  const entries = Object.entries(tables ?? {});
  if (tables !== undefined && entries.length === 0) faults.about([kind], `has no table: add [${kind}.NAME]`);
  for (const [name] of entries) if (!NAME_FORM.test(name)) faults.about([kind, name], `is not a name: ${NAME_WRONG}`);
  return entries;
}

interface Reading {
  readonly folder: string;
  readonly faults: ConfigFaults;
}

/** A site's table as far as it is sound. */
export interface SiteDraft {
  readonly name: SiteName;
  readonly path: KeyPath;
  readonly data: string | undefined;
  readonly link: Address | undefined;
  readonly nbd: readonly Address[] | undefined;
  readonly nbdTls: 'off' | 'optional' | 'required' | undefined;
  readonly nbdClients: 'certificate' | 'anybody' | undefined;
  readonly nbdConnections: number | undefined;
  readonly nbdMemoryMib: number | undefined;
  readonly control: Address | undefined;
  readonly remoteControl: Address | undefined;
  readonly page: Address | undefined;
  readonly pageTokenFile: string | undefined;
  readonly hooks: string | undefined;
}

/** Reads [site.NAME]. */
export function readSite(name: string, table: unknown, { folder, faults }: Reading): SiteDraft {
  const path = ['site', name];
  const read = readTable(siteShape, table, path, faults);
  const { link, nbd, control, page } = read;
  const within = (file: string | undefined): string | undefined => (file === undefined ? undefined : resolve(folder, file));
  const files = { data: within(read.data), hooks: within(read.hooks), pageTokenFile: within(read.page_token_file) };
  const hosts = {
    nbdTls: read.nbd_tls,
    nbdClients: read.nbd_clients,
    nbdConnections: read.nbd_connections,
    nbdMemoryMib: read.nbd_memory_mib,
  };
  return { name, path, link, nbd, control, remoteControl: read.remote_control, page, ...hosts, ...files };
}

/** A volume's table as far as it is sound. */
export interface VolumeDraft {
  readonly path: KeyPath;
  readonly name: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly unserved: 'fail' | 'hold' | undefined;
  readonly holdSeconds: number | undefined;
  readonly base: ReadonlyMap<SiteName, string>;
}

/** The keys of a group as far as they are sound. */
export type GroupFields = Partial<z.output<z.ZodObject<typeof groupShape>>>;

/** A group's table as far as it is sound. */
export interface GroupDraft {
  readonly name: string;
  readonly path: KeyPath;
  readonly fields: GroupFields;
  readonly volumes: readonly VolumeDraft[];
}

/** Defaults that a small sidefile makes too large are as large as it allows: only what somebody has written can be wrong. */
function fittedToSidefile(fields: GroupFields, table: unknown): GroupFields {
  const { sidefile_mib: sidefile, segment_mib: segment, destage_backlog_mib: backlog } = fields;
  const given = (key: string): boolean => typeof table === 'object' && table !== null && key in table;
  if (sidefile === undefined) return fields;
  return {
    ...fields,
    ...(segment !== undefined && !given('segment_mib') && { segment_mib: Math.min(segment, Math.floor(sidefile / 4)) }),
    ...(backlog !== undefined && !given('destage_backlog_mib') && { destage_backlog_mib: Math.min(backlog, Math.floor(sidefile / 2)) }),
  };
}

/** Reads [group.NAME] and its volumes. */
export function readGroup(name: string, table: unknown, { folder, faults }: Reading): GroupDraft {
  const path = ['group', name];
  const fields = fittedToSidefile(readTable(groupShape, table, path, faults), table);
  const volumes = (fields.volume ?? []).map((volume, index) => {
    const volumePath = [...path, 'volume', index];
    const read = readTable(volumeShape, volume, volumePath, faults);
    const base = new Map(Object.entries(read.base ?? {}).map(([site, file]) => [site, resolve(folder, file)]));
    return { path: volumePath, name: read.name, sizeBytes: read.size, unserved: read.unserved, holdSeconds: read.fail_after_seconds, base };
  });
  return { name, path, fields, volumes };
}

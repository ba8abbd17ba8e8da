// Names of exports with what is wanted of them: "GROUP/VOLUME", or "GROUP/VOLUME@WISH@WISH". No name of a group or volume has an "@", so a
// name without wishes is the volume itself, as every client knows it.
//
//   @ro                 read only
//   @direct             only if this very site serves it: another one refuses instead of passing the connection on
//   @attach=USER.N      as @direct, for `tercet attach`: connection number N of this user, which ends those of lower numbers
//   @POINT              as of a point that was made under this name here; read only

import { limits } from '../base/limits.ts';
import type { Attachment } from './handshake.ts';

/** What a name asks for. */
export interface ExportWishes {
  /** The name without wishes. */
  readonly name: string;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly attachment: Attachment | null;
  /** Name of a point as of which it is to be read; null: as it is now. */
  readonly point: string | null;
}

const ATTACH = /^attach=([0-9a-zA-Z-]{8,64})\.([0-9]{1,15})$/;
const POINT = new RegExp(`^[a-z][a-z0-9-]{0,${limits.nameCharsMax - 1}}$`);
const RESERVED: ReadonlySet<string> = new Set(['ro', 'direct', 'attach']);

/** Whether a point may have this name: no other wish looks like it. */
export function isPointName(text: string): boolean {
  return POINT.test(text) && !RESERVED.has(text);
}

/** Takes a name apart; a sentence about what is wrong when a wish is not known. */
export function readExportName(text: string): ExportWishes | { readonly wrong: string } {
  const [name = '', ...wishes] = text.split('@');
  let readOnly = false;
  let direct = false;
  let attachment: Attachment | null = null;
  let point: string | null = null;
  for (const wish of wishes) {
    const attach = ATTACH.exec(wish);
    if (wish === 'ro') readOnly = true;
    else if (wish === 'direct') direct = true;
    else if (attach !== null) attachment = { user: attach[1] as string, generation: Number(attach[2]) };
    else if (!isPointName(wish)) return { wrong: `"@${wish}" is not known here: an export may be asked for with @ro or @POINT` };
    else if (point !== null) return { wrong: 'a volume can be as of one point only' };
    else point = wish;
  }
  if (point !== null && attachment !== null) return { wrong: 'what is attached is the volume as it is now' };
  return { name, readOnly: readOnly || point !== null, direct: direct || attachment !== null, attachment, point };
}

/** The name by which `tercet attach` asks. */
export function attachName(name: string, attachment: Attachment): string {
  return `${name}@attach=${attachment.user}.${attachment.generation}`;
}
